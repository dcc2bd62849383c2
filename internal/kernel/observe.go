package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/observe"
	"github.com/linkspan/linkspan/internal/kernel/route"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/kernel/sysctl"
)

// Observe learns about the host: its interfaces, which prefixes it reaches directly, not counting
// interfaces of ours, how large packets may be, its name servers, whether it
// forwards, and which boot this is. It changes nothing.
func (k *Kernel) Observe(ctx context.Context) (facts.Host, error) {
	p, err := k.begin(ctx, nil)
	if err != nil {
		return facts.Host{}, err
	}
	defer p.end()
	h := facts.Host{Instance: k.instance, BootID: observe.BootID()}
	if err := (observer{p}).routes(&h); err != nil {
		return facts.Host{}, fmt.Errorf("read the host's routes: %w", err)
	}
	if h.Resolvers, err = observe.Resolvers(k.resolvConf); err != nil {
		return facts.Host{}, err
	}
	err = k.netns.Enter(ctx, k.hostFile, func() error {
		tree := k.sysctls.Open()
		defer tree.Close()
		h.ForwardingOff4 = off(tree, "net/ipv4/ip_forward")
		h.ForwardingOff6 = off(tree, "net/ipv6/conf/all/forwarding")
		observe.Ports(tree, &h)
		return nil
	})
	return h, err
}

// observer learns from the host's links and routes.
type observer struct{ *pass }

// off tells whether a sysctl exists and is 0.
func off(tree *sysctl.Tree, path string) bool {
	value, err := tree.Get(path)
	return err == nil && value == "0"
}

// routes adds what follows from the host's links and routes.
func (o observer) routes(h *facts.Host) error {
	conn := o.spaces[desired.HostNamespace].conn
	links, err := link.List(conn)
	if err != nil {
		return err
	}
	routes, err := route.All(conn)
	if err != nil {
		return err
	}
	if err := o.addrs(conn, links, h); err != nil {
		return err
	}
	h.OnLink = observe.OnLink(routes, o.ours(links))
	for _, l := range links {
		h.Links = append(h.Links, l.Name)
	}
	slices.Sort(h.Links)
	h.Packets = observe.Packets(links, routes)
	return nil
}

// addrs adds the host's addresses, except where they are of interfaces of
// ours or mean nothing elsewhere, and the MAC addresses of who has any, or is a
// bridge: a network may be about to adopt it.
func (o observer) addrs(conn *rtnl.Conn, links []link.Info, h *facts.Host) error {
	ours := o.ours(links)
	all, err := addr.List(conn, everyLink)
	if err != nil {
		return err
	}
	addressed := map[int]bool{}
	for _, i := range all {
		a := i.Prefix.Addr()
		if ours[i.Index] || a.IsLoopback() || a.IsLinkLocalUnicast() {
			continue
		}
		addressed[i.Index] = true
		h.Addrs = append(h.Addrs, a)
	}
	for _, l := range links {
		bridge := l.Type == string(desired.LinkBridge) && !ours[l.Index]
		if (addressed[l.Index] || bridge) && len(l.MAC) == len("02:42:00:00:00:00") { // tunnels have other kinds of address
			h.MACs = append(h.MACs, l.MAC)
		}
	}
	slices.SortFunc(h.Addrs, netip.Addr.Compare)
	slices.Sort(h.MACs)
	h.Addrs, h.MACs = slices.Compact(h.Addrs), slices.Compact(h.MACs)
	return nil
}

// everyLink asks for the addresses of all links.
const everyLink = 0

// ours tells which links belong to the engine, by their index.
func (o observer) ours(links []link.Info) map[int]bool {
	out := map[int]bool{}
	for _, l := range links {
		_, owned := link.Owner(o.k.instance, l)
		out[l.Index] = owned || l.Group == desired.PortGroup
	}
	return out
}
