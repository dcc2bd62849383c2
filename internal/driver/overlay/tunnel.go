package overlay

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// The packets of encrypted networks leave by a namespace that has a WireGuard interface and
// nothing else:
//
//	ov-<network>: vx4097 ═╗ ov-wireguard: wg-overlay ═╗             ╔═ wg-overlay of another host
//	ov-<network>: vx4098 ═╩═══ VXLAN ═════════════════╩ host's UDP ═╝
//
// There is no other way out of it and none in, so nothing leaves or comes in clear, whatever
// becomes of rules, of the interface or of who encrypts. Hosts have in it the addresses by
// which they reach one another outside: it is a world of its own, in which nothing clashes.
const (
	// TunnelNamespace is the name of that namespace on each host.
	TunnelNamespace = "ov-wireguard"
	// TunnelLink is the interface in it. While it is made, older kernels look whether the host has
	// one of that name.
	TunnelLink = "wg-overlay"
)

// maxPeers bounds the hosts in the tunnel.
const maxPeers = 8192

// takesPart tells whether this host has what it takes to send a network's packets: an
// address, and in the tunnel a key as well.
func takesPart(n model.Network, o facts.Overlay) bool {
	return o.Local.IsValid() && (!n.Encrypted() || o.Tunnel.PublicKey != "")
}

// Tunnel implements driver.Tunneler.
func (Driver) Tunnel(of []facts.Overlay) []desired.Row {
	at := slices.IndexFunc(of, func(o facts.Overlay) bool { return o.Local.IsValid() && o.Tunnel.PublicKey != "" })
	if at < 0 {
		return nil
	}
	o, ns := of[at], TunnelNamespace
	size := o.MTU + model.VXLANOverhead(o.Local)
	if o.MTU == 0 {
		size = usualWay - model.WireGuardOverhead(o.Local)
	}
	forwarding, noIPv6, everywhere := "net/ipv4/ip_forward", "1", netip.IPv4Unspecified()
	if o.Local.Is6() {
		forwarding, noIPv6, everywhere = "net/ipv6/conf/all/forwarding", "0", netip.IPv6Unspecified()
	}
	rows := []desired.Row{
		desired.Namespace{Name: ns},
		desired.Sysctl{Namespace: ns, Path: forwarding, Value: "0"}, // no host leads to another
		desired.Link{Namespace: ns, Name: TunnelLink, Type: desired.LinkWireGuard, MTU: size},
		desired.Sysctl{Namespace: ns, Path: driver.DisableIPv6(TunnelLink), Value: noIPv6},
		desired.Addr{Namespace: ns, Link: TunnelLink, Prefix: netip.PrefixFrom(o.Local, o.Local.BitLen())},
		desired.Route{Namespace: ns, Link: TunnelLink, Destination: netip.PrefixFrom(everywhere, 0)},
		desired.WireGuard{
			Namespace: ns, Link: TunnelLink, Port: o.Tunnel.Port, MTU: size, PublicKey: o.Tunnel.PublicKey, KeyFile: o.Tunnel.KeyFile,
		},
	}
	for _, p := range peers(of, identity{vtep: o.Local, key: o.Tunnel.PublicKey}) {
		rows = append(rows, desired.WireGuardPeer{
			Namespace: ns, Link: TunnelLink, Allowed: p.vtep, Endpoint: netip.AddrPortFrom(p.vtep, o.Tunnel.Port), PublicKey: p.key,
		})
	}
	return rows
}

// identity is who a node says it is: the address at which it receives packets, and its key.
type identity struct {
	node string
	vtep netip.Addr
	key  string
}

// peers returns the other hosts of encrypted networks. A node has one address and one key,
// and an address and a key are of one node: where nodes contradict one another, or this host,
// nobody is believed, so that nothing is encrypted for who is not meant.
func peers(of []facts.Overlay, self identity) []identity {
	said := map[identity]bool{self: true}
	for _, o := range of {
		for _, r := range o.Remotes {
			if r.PublicKey != "" && r.VTEP.IsValid() {
				said[identity{r.Node, r.VTEP, r.PublicKey}] = true
			}
		}
	}
	nodes, addrs, keys := map[string]int{}, map[netip.Addr]int{}, map[string]int{}
	for i := range said {
		nodes[i.node]++
		addrs[i.vtep]++
		keys[i.key]++
	}
	delete(said, self)
	maps.DeleteFunc(said, func(i identity, _ bool) bool { return nodes[i.node]+addrs[i.vtep]+keys[i.key] > 3 })
	all := slices.SortedFunc(maps.Keys(said), func(a, b identity) int {
		return cmp.Or(a.vtep.Compare(b.vtep), cmp.Compare(a.key, b.key))
	})
	return all[:min(len(all), maxPeers)]
}
