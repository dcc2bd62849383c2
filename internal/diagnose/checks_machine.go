package diagnose

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/evidence"
)

func rights(h evidence.Host) []Finding {
	if h.Root {
		return good("this command may look at everything")
	}
	return []Finding{bad("sudo linkspan doctor", "this command is not root's: rules, namespaces and the daemon's socket cannot be seen")}
}

// needed are kinds of links, with what they are for; those without are for networks of one
// driver alone.
var needed = map[string]bool{"bridge": true, "veth": true}

func features(h evidence.Host) (out []Finding) {
	for _, kind := range slices.Sorted(maps.Keys(h.Lacks)) {
		why, mend := h.Lacks[kind], "modprobe "+kind+", or a kernel that has it"
		if kind == "vlan" {
			mend = "modprobe 8021q, or a kernel that has it"
		}
		if needed[kind] {
			out = append(out, bad(mend, "the kernel makes no links of kind %s: %s", kind, why))
			continue
		}
		out = append(out, odd(mend, "the kernel makes no links of kind %s (%s): networks that need them cannot be made", kind, why))
	}
	if h.Connections.Max == 0 && h.Root {
		out = append(out, bad("modprobe nf_conntrack", "the kernel does not track connections, or has not begun to"))
	}
	return or(out, "Linux %s has what networks need", h.Kernel)
}

// rules are chains of others that drop by default what is ours.
func rules(h evidence.Host) (out []Finding) {
	by := ""
	if len(h.Firewalls) > 0 {
		by = " (" + strings.Join(h.Firewalls, ", ") + ")"
	}
	for _, c := range h.Chains {
		if !c.Drops || c.Accepts || c.Hook != "forward" || strings.HasPrefix(c.Table, "bridge ") {
			continue
		}
		out = append(out, Finding{
			Status: Note, Whose: theAdministrator, Found: fmt.Sprintf("chain %s of %s%s drops what is forwarded unless one of its %d rules accepts it: networks of containers included", c.Name, c.Table, by, c.Rules),
			Mend: "accept what containers send and get in that chain, by the interfaces br-* and docker0; linkspan firewall explain PORT shows what becomes of it",
		})
	}
	return or(out, "no chain of others drops by default what is forwarded%s", by)
}

func cgroups(h evidence.Host) (out []Finding) {
	for _, name := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(h.Controllers, name) {
			out = append(out, odd("boot with cgroup_enable="+name+", or systemd.unified_cgroup_hierarchy=1", "cgroups have no controller %s: limits of that kind cannot be set", name))
		}
	}
	return or(out, "version %s, with %s", h.Cgroup, strings.Join(h.Controllers, ", "))
}

func programs(h evidence.Host) (out []Finding) {
	for _, name := range slices.Sorted(maps.Keys(h.Programs)) {
		if !h.Programs[name] {
			out = append(out, bad("apt-get install containerd runc", "program %s is not in PATH", name))
		}
	}
	return or(out, "containerd and runc are there")
}

func containerd(h evidence.Host) []Finding {
	switch {
	case h.Runtime.Err != "":
		return []Finding{bad("systemctl restart containerd", "containerd does not answer at %s: %s", h.Runtime.Socket, h.Runtime.Err)}
	case h.Runtime.There:
		return good("containerd answers at %s", h.Runtime.Socket)
	}
	return good("no containerd of the system runs: linkspand starts its own")
}

func dns(h evidence.Host) (out []Finding) {
	if len(h.Resolvers) == 0 {
		return []Finding{odd("name some in /etc/resolv.conf, or with linkspand --dns", "this host names no name server: containers find no names outside")}
	}
	silent := 0
	for _, s := range h.Resolvers {
		if s.Answer != evidence.Silent {
			continue
		}
		silent++
		why := ""
		if s.Err != "" {
			why = ": " + s.Err
		}
		f := odd("take it out of /etc/resolv.conf, or see why it is silent", "name server %s does not answer%s", s.Server, why)
		f.Whose = "whoever runs " + s.Server.String()
		out = append(out, f)
	}
	if silent == len(h.Resolvers) {
		for i := range out {
			out[i].Status = Wrong
		}
	}
	return or(out, "name servers answer: %s", servers(h.Resolvers))
}

func table(h evidence.Host) []Finding {
	c := h.Connections
	mend := fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d; conntrack -L shows what fills it", 2*c.Max)
	switch {
	case c.Max == 0:
		return nil
	case c.Count >= c.Max:
		return []Finding{bad(mend, "the table of connections is full (%d of %d): new connections are dropped", c.Count, c.Max)}
	case c.Count*10 >= c.Max*9:
		return []Finding{odd(mend, "the table of connections is nearly full: %d of %d", c.Count, c.Max)}
	}
	return good("%d of %d are used", c.Count, c.Max)
}

func neighbourTable(h evidence.Host) []Finding {
	limit, err := strconv.Atoi(h.Settings["net/ipv4/neigh/default/gc_thresh3"])
	if err != nil || limit == 0 {
		return nil
	}
	if h.Neighbours*10 >= limit*9 {
		return []Finding{bad(fmt.Sprintf("sysctl -w net.ipv4.neigh.default.gc_thresh3=%d", 4*limit), "the table of neighbours is full (%d of %d): some containers cannot be reached", h.Neighbours, limit)}
	}
	return good("%d of %d are known", h.Neighbours, limit)
}

func leftovers(h evidence.Host) (out []Finding) {
	for _, l := range h.Leftovers {
		if slices.ContainsFunc(h.Daemon.Networks, func(n evidence.Network) bool { return "interface "+n.Device == l.What }) {
			continue
		}
		f := odd(l.Mend, "%s is left of %s", l.What, l.Of)
		f.Whose = l.Of
		out = append(out, f)
	}
	return or(out, "nothing is left of other engines")
}

const (
	gigabyte = 1 << 30
	percent  = 100
)

func disks(h evidence.Host) (out []Finding) {
	for _, d := range h.Disks {
		const mend = "docker system prune, or a larger disk"
		switch {
		case d.Err != "":
			out = append(out, Finding{Status: Unknown, Found: d.Path + ": " + d.Err})
		case d.ReadOnly:
			out = append(out, bad("mount -o remount,rw, once it is known why", "%s is read-only", d.Path))
		case d.Size > 0 && d.Free*percent < d.Size && d.Free < gigabyte, d.InodesTotal > 0 && d.InodesFree*percent < d.InodesTotal:
			out = append(out, bad(mend, "%s is full: %d MB of %d and %d inodes of %d are free", d.Path, d.Free>>20, d.Size>>20, d.InodesFree, d.InodesTotal))
		case d.Size > 0 && d.Free*20 < d.Size:
			out = append(out, odd(mend, "%s is nearly full: %d MB of %d are free", d.Path, d.Free>>20, d.Size>>20))
		default:
			out = append(out, good("%s has %d MB free", d.Path, d.Free>>20)...)
		}
	}
	return out
}

// oldest is the year before which no clock is right.
const oldest = 2024

func clock(h evidence.Host) []Finding {
	c := h.Clock
	switch {
	case c.Now.Year() < oldest:
		return []Finding{bad("timedatectl set-ntp true", "the clock says %s: certificates of registries are not valid yet", c.Now.Format("2006-01-02"))}
	case c.Unknown:
		return nil
	case !c.Synchronised:
		return []Finding{odd("timedatectl set-ntp true", "nobody keeps the clock")}
	}
	return good("the clock is kept")
}

// overlapping tells whether two prefixes have addresses in common.
func overlapping(a, b netip.Prefix) bool { return a.IsValid() && b.IsValid() && a.Overlaps(b) }
