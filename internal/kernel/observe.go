package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/observe"
	"github.com/linkspan/linkspan/internal/kernel/route"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/kernel/sysctl"
	"github.com/linkspan/linkspan/internal/resolvconf"
)

// maxResolvers bounds what is read of resolv.conf(5); the C library uses three.
const maxResolvers = 16

// maxResolvConf is how much of a resolv.conf is read, in bytes.
const maxResolvConf = 64 << 10

// Observe learns about the host: its interfaces, which prefixes it reaches directly, not counting
// interfaces of ours, how large packets may be, its name servers, whether it
// forwards, and which boot this is. It changes nothing.
func (k *Kernel) Observe(ctx context.Context) (facts.Host, error) {
	p, err := k.begin(ctx, nil)
	if err != nil {
		return facts.Host{}, err
	}
	defer p.end()
	h := facts.Host{Instance: k.instance, BootID: bootID()}
	if err := (observer{p}).routes(&h); err != nil {
		return facts.Host{}, fmt.Errorf("read the host's routes: %w", err)
	}
	if h.Resolvers, err = readResolvers(k.resolvConf); err != nil {
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

// bootID returns random(4)'s identity of this boot, empty if there is none.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

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
	h.OnLink = o.onLinkPrefixes(links, routes)
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

// onLinkPrefixes lists where the host gets without a gateway. Default routes,
// link-local and multicast prefixes say nothing about who is where.
func (o observer) onLinkPrefixes(links []link.Info, routes []route.Info) []netip.Prefix {
	skip := o.ours(links)
	var out []netip.Prefix
	for _, r := range routes {
		p := r.Destination
		if r.OnLink() && !skip[r.Index] && p.Bits() > 0 && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsMulticast() {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

func readResolvers(path string) ([]netip.Addr, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, maxResolvConf)) // what can be read counts
	return resolversIn(text), nil
}

// resolversIn returns the name servers that the text of a resolv.conf(5) names, in
// order and without zones.
func resolversIn(text []byte) []netip.Addr {
	var out []netip.Addr
	for _, a := range resolvconf.Parse(text).Servers {
		if len(out) < maxResolvers {
			out = append(out, a.WithZone("").Unmap())
		}
	}
	return out
}
