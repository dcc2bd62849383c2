package border

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
)

// GoesWrong tells whether a frame gets where it must not.
func (n Network) GoesWrong(frames []Forged) bool {
	return slices.ContainsFunc(frames, func(f Forged) bool {
		return slices.ContainsFunc(n.fate(f), func(where string) bool {
			// A frame that gets to a port whose mask is gone is stopped there by no rule.
			lost := where == atPort && f.dmac == "01:80:c2:00:00:0e"
			return !lost && f.wrongAt(where, n.left[f.id]) != ""
		})
	})
}

// wrongAt says why a frame must not get to where it was seen; empty if it may. It knows
// what networks promise and nothing of rules.
func (f Forged) wrongAt(where string, left netip.Addr) string {
	p := f.from
	src, dst := netip.MustParseAddr(f.src), netip.MustParseAddr(f.dst)
	invalid := f.body.state == firewalltest.StateInvalid
	own := []string{p.IP4, p.IP6, firewalltest.OnLink4, firewalltest.OwnLinkLocal(p.MAC)}
	if p.Name == "a1" {
		own = append(own, firewalltest.Elsewhere4, firewalltest.Elsewhere6)
	}
	switch {
	case where == atPort:
		return "nothing is for the port itself"
	case p.Name == "dead":
		return "a port without policy is dead"
	case strings.HasPrefix(f.dmac, "01:80:c2:00:00:0"):
		return "no bridge forwards to this group"
	case f.tags > 0 || f.body.family == noIP:
		return "neither IP nor ARP"
	case p.Mode == desired.PortCapable && !slices.Contains(own, f.src) && f.wrongClaim(src) != "":
		return f.wrongClaim(src)
	case p.Mode == desired.PortCapable && f.smac != p.MAC && f.smac != chosenMAC:
		return "a MAC address of somebody else"
	case p.Mode == desired.PortCapable && where == atHost && f.wrongFromCapable(src) != "":
		return f.wrongFromCapable(src)
	case p.Mode == desired.PortCapable:
	case f.smac != p.MAC:
		return "a MAC address that is not its own"
	case strings.Contains(f.body.name, "advertisement"), strings.HasPrefix(f.body.name, "a redirect"), strings.HasPrefix(f.body.name, "a DHCP"):
		return "speaks as a router or server"
	case f.body.family == four && !slices.Contains(own, f.src),
		f.body.family == six && !slices.Contains(own, f.src):
		return "an address that is not its own"
	}
	switch {
	case where == atHost:
		return f.wrongAtHost(dst, invalid)
	case where == "out" || where == "far":
		host := left.String() == firewalltest.Uplink4 || left.String() == firewalltest.Uplink6 || left.String() == "198.51.100.1" || left.String() == "2001:db8:1::1"
		switch {
		case p.Bridge == "br-i":
			return "an internal network's"
		case !host:
			return fmt.Sprintf("left the host as %s", left)
		}
		return ""
	}
	return f.wrongAtNeighbour(firewalltest.PlaceOf(where), dst)
}

// wrongClaim says why a container with NET_ADMIN must not use an address that it was
// not given; empty if it may.
func (f Forged) wrongClaim(a netip.Addr) string {
	nobody := f.body.kind == frames.ARP || f.body.family == six && strings.Contains(f.body.name, "a ") || strings.Contains(f.body.name, "echo")
	switch {
	case firewalltest.IsLocal(a) || a.String() == "fe80::1":
		return "the host's address"
	case a.IsUnspecified() && f.body.state != firewalltest.StateUntracked && !nobody:
		return "nobody's address"
	case a.IsLoopback() || a.IsMulticast() || a.Is4In6() || a.String() == "255.255.255.255":
		return "an address that cannot be"
	}
	for _, p := range firewalltest.Places() {
		if p.Pinned && p.Bridge == f.from.Bridge && slices.Contains([]string{p.IP4, p.IP6, firewalltest.OwnLinkLocal(p.MAC)}, a.String()) {
			return "a neighbour's address"
		}
	}
	return ""
}

// wrongFromCapable is about what the host itself takes of a container with NET_ADMIN.
func (f Forged) wrongFromCapable(src netip.Addr) string {
	switch {
	case strings.Contains(f.body.name, "advertisement"), strings.HasPrefix(f.body.name, "a redirect"):
		return "the host takes no word of a router"
	case f.body.kind != frames.ARP && (src.String() == "8.8.8.8" || src.String() == "2001:db8:77::7"):
		return "a source from where no answer comes back"
	}
	return ""
}

func (f Forged) wrongAtHost(dst netip.Addr, invalid bool) string {
	switch {
	case dst.IsLoopback() && f.body.kind != frames.ARP:
		return "127.0.0.1 is the host's alone"
	case f.from.Bridge == "br-i" && f.body.kind != frames.ARP && !dst.IsMulticast() && dst.String() != "255.255.255.255" &&
		dst.String() != firewalltest.HostOf(f.from.IP4, 24) && dst.String() != firewalltest.HostOf(f.from.IP6, 64) && dst.String() != "fe80::1":
		return "an internal network has nothing of the host but its gateway"
	case (f.from.Bridge == "br-i" || invalid) && f.isPublished(dst):
		return "a published port"
	}
	return ""
}

// isPublished tells whether a port that a body names is published at an address of the
// host, by Rows.
func (f Forged) isPublished(dst netip.Addr) bool {
	protocol, rest, _ := strings.Cut(f.body.name, " to port ")
	port, err := strconv.Atoi(strings.TrimSuffix(rest, ", IPv6"))
	if err != nil || dst.IsMulticast() {
		return false
	}
	uplink := dst.String() == firewalltest.Uplink4 || dst.String() == firewalltest.Uplink6
	if protocol != "UDP" {
		return port == 8080 || port == 8070 || port >= 8085 && port <= 8087 || uplink && (port >= 8071 && port <= 8079 || port == 8081)
	}
	return slices.Contains([]int{8080, 8090, 8095, 9005}, port) || port == 8070 && dst.Is6() || uplink && (port == 8081 || port == 9201)
}

func (f Forged) wrongAtNeighbour(to firewalltest.Place, dst netip.Addr) string {
	published := strings.HasPrefix(f.body.name, "UDP") || strings.Contains(f.body.name, "to port 8080")
	switch {
	case to.Bridge == f.from.Bridge && to.Name == "dead":
		return "a port without policy is dead"
	case to.Bridge == f.from.Bridge && f.from.Bridge == "br-q" && f.body.kind != frames.ARP && (to.Name != f.from.Name || !published):
		return "icc=false"
	case to.Bridge == f.from.Bridge:
		return ""
	case f.from.Bridge == "br-i" || to.Bridge == "br-i":
		return "an internal network"
	case to.Name == "open", published && (firewalltest.IsLocal(dst) || dst.String() == "fe80::1"), to.Name == "b1" && dst.String() == to.IP4, to.Name == "b1" && dst.String() == to.IP6:
		return "" // is open to direct routing, or some of its ports are
	}
	return "another network"
}
