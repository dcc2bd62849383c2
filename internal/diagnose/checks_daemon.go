package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/facts"
)

func daemon(h evidence.Host) []Finding {
	if !h.Daemon.Runs {
		return []Finding{bad("systemctl start linkspand; journalctl -u linkspand", "linkspand cannot be asked: %s", h.Daemon.Err)}
	}
	return good("linkspand %s runs, pid %d, with firewall %s", h.Daemon.Version, h.Daemon.Pid, h.Daemon.Backend)
}

// shownDrift is how many differences are shown.
const shownDrift = 8

func drift(h evidence.Host) (out []Finding) {
	for i, d := range h.Daemon.Drift {
		if i == shownDrift {
			out = append(out, bad("linkspan network diff", "and %d more differ", len(h.Daemon.Drift)-i))
			break
		}
		out = append(out, bad("linkspan network repair", "the kernel is not as the networks ask: %s", d))
	}
	return or(out, "the kernel is as the networks ask")
}

func forwarding(h evidence.Host) (out []Finding) {
	four, six := false, false
	for _, n := range h.Daemon.Networks {
		if n.Device == "" || n.Internal {
			continue
		}
		for _, s := range n.Subnets {
			four, six = four || s.Addr().Is4(), six || s.Addr().Is6()
		}
	}
	for setting, wanted := range map[string]bool{"net/ipv4/ip_forward": four, "net/ipv6/conf/all/forwarding": six} {
		if wanted && h.Settings[setting] == "0" {
			out = append(out, bad("sysctl -w "+dotted(setting)+"=1", "this host does not forward packets (%s is 0): containers do not get out", dotted(setting)))
		}
	}
	slices.SortFunc(out, func(a, b Finding) int { return strings.Compare(a.Found, b.Found) })
	return or(out, "this host forwards what containers send")
}

// ways is what rules make of packets of real containers, and to real ports.
func ways(h evidence.Host) (out []Finding) {
	for _, w := range h.Daemon.Ways {
		v := w.Verdict
		switch facts.Outcome(v.Outcome) {
		case facts.OutcomeDropped, facts.OutcomeRejected:
			f := bad(v.WayOut, "%s: %s %s it", w.What, v.Decides, verb(v.Outcome))
			f.Whose = theAdministrator
			if v.Ours {
				f.Status, f.Whose = Note, "linkspan"
			}
			if f.Mend == "" {
				f.Mend = "accept it there, or delete that rule"
			}
			out = append(out, f)
		case facts.OutcomeUnreachable:
			out = append(out, bad("ip route; ip rule", "%s: this host has no route: %s", w.What, v.Decides))
		case facts.OutcomeUnknown:
			out = append(out, Finding{Status: Unknown, Found: fmt.Sprintf("%s: whether %s drops it cannot be told", w.What, v.Decides)})
		}
	}
	return or(out, "rules of this host let containers out, and others in at %d published ports", published(h))
}

func published(h evidence.Host) (n int) {
	for _, w := range h.Daemon.Ways {
		if strings.HasPrefix(w.What, "port ") {
			n++
		}
	}
	return n
}

// overlaps are routes of the host's own that lead into a subnet of a network.
func overlaps(h evidence.Host) (out []Finding) {
	devices := map[string]bool{}
	for _, n := range h.Daemon.Networks {
		devices[n.Device] = true
	}
	for _, n := range h.Daemon.Networks {
		for _, subnet := range n.Subnets {
			for _, r := range h.Routes {
				if n.Device == "" || r.Ours || r.Link == n.Device || devices[r.Link] && r.Link != "" || r.Destination.Bits() <= 1 || !overlapping(r.Destination, subnet) {
					continue
				}
				out = append(out, overlap(n, subnet.String(), r, r.Destination.Bits() > subnet.Bits()))
			}
		}
	}
	return or(out, "no route of the host leads into a network's subnet")
}

func overlap(n evidence.Network, subnet string, r evidence.HostRoute, narrower bool) Finding {
	way := "dev " + r.Link
	if r.Gateway.IsValid() {
		way = "via " + r.Gateway.String() + " " + way
	}
	mend := fmt.Sprintf("create network %s anew with another --subnet, or see --default-address-pool", n.Name)
	if narrower {
		return bad(mend, "route %s %s takes addresses of network %s (%s): what is sent to containers there goes elsewhere", r.Destination, way, n.Name, subnet)
	}
	return odd(mend, "network %s (%s) hides a part of what is reached by route %s %s", n.Name, subnet, r.Destination, way)
}

// uplink is whether what leaves the host is smaller than what networks send.
func uplink(h evidence.Host) (out []Finding) {
	mtu := map[string]int{}
	for _, l := range h.Links {
		mtu[l.Name] = l.MTU
	}
	seen := map[string]bool{}
	for _, r := range h.Routes {
		if r.Destination.IsValid() && r.Destination.Bits() > 0 || r.Link == "" || seen[r.Link] {
			continue
		}
		seen[r.Link] = true
		for _, n := range h.Daemon.Networks {
			if m := mtu[n.Device]; n.Device != "" && !n.Internal && m > mtu[r.Link] && mtu[r.Link] > 0 {
				out = append(out, odd(fmt.Sprintf("create networks with -o com.docker.network.driver.mtu=%d", mtu[r.Link]),
					"packets of network %s may be larger (%d bytes) than %s takes (%d): where routers say nothing of it, large answers do not come", n.Name, m, r.Link, mtu[r.Link]))
			}
		}
	}
	if len(seen) == 0 {
		return []Finding{odd("ip route", "this host has no default route: containers reach no more than it does")}
	}
	return or(out, "what leaves the host may be as large as what networks send")
}

// claimed are ports that containers will want and somebody else has.
func claimed(h evidence.Host) (out []Finding) {
	for _, c := range h.Daemon.Claimed {
		f := bad("end that, or publish another port", "port %s/%s, which container %s will want, is held by %s", c.At, c.Protocol, c.Container, c.Holder)
		f.Whose = c.Holder
		if strings.HasPrefix(c.Holder, "container ") {
			f.Status = Note
		}
		out = append(out, f)
	}
	return or(out, "no port that a container will want is held by somebody else")
}

func descriptors(h evidence.Host) (out []Finding) {
	for _, d := range h.Descriptors {
		if d.Limit > 0 && d.Open*10 >= d.Limit*8 {
			out = append(out, bad("raise LimitNOFILE of its unit", "%s has %d of %d files open", d.Who, d.Open, d.Limit))
		}
	}
	return or(out, "the daemon is far from its limit of open files")
}
