package resolver

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/resolver/message"
)

// ownAddress is where a sandbox finds the resolver.
var ownAddress = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// view is what one sandbox sees: its Resolver row, made ready for look-ups. It
// is immutable.
type view struct {
	row      desired.Resolver
	networks [][]byte
	links    map[string][]linkTarget // by alias
	own      *source                 // asked from inside; nil if there is none
	routes   []route
	counters *counters
}

// linkTarget is what an alias stands for.
type linkTarget struct {
	network []byte   // where; empty: on every network
	names   []string // names that its target may be known by
}

// newView takes over from old, if there is one, what was learned about name
// servers that stay.
func newView(row desired.Resolver, t *counters, old *view) *view {
	v := &view{row: row, links: make(map[string][]linkTarget, len(row.Links)), counters: t}
	for _, id := range row.Networks {
		v.networks = append(v.networks, []byte(id))
	}
	for _, l := range row.Links {
		alias := message.Canonical(l.Alias)
		v.links[alias] = append(v.links[alias], linkTarget{[]byte(l.Network), targets(l.Target)})
	}
	if old == nil {
		old = &view{}
	}
	if servers := usable(row.Servers); len(servers) > 0 {
		v.own = newSource(row.Namespace, row.Networks, servers, old.own)
	}
	v.routes = newRoutes(row, old.routes)
	return v
}

// targets returns the names under which the target of a link may be known. One
// given by a long ID is known by its short one.
func targets(given string) []string {
	name := message.Canonical(strings.TrimPrefix(given, "/"))
	if len(name) > model.ShortLen && strings.Trim(name, "0123456789abcdef") == "" {
		return []string{name, model.Short(name)}
	}
	return []string{name}
}

// finding is what the table knows about a name.
type finding uint8

const (
	unknown finding = iota
	// known: the name exists, be it without an address of the family asked for.
	known
	// dangling: the name is a link whose target is not there. It is taken all the
	// same: the world is not asked, and a name of the world does not replace it.
	dangling
)

// find looks a name in canonical form up as v's sandbox sees it: in all of its
// networks, then as "name.network" with every dot as the border, the last one
// first. It returns the addresses of the wanted family (0 wants none) in the
// first network that has any.
func (t *table) find(v *view, name []byte, family model.Family) ([]netip.Addr, finding) {
	result := unknown
	for cut := len(name); cut > 0; cut = bytes.LastIndexByte(name[:cut], '.') {
		var network []byte // nil: any
		if cut < len(name) {
			network = name[cut+1:]
		}
		addrs, f := t.findIn(v, name[:cut], network, family)
		if len(addrs) > 0 {
			return addrs, known
		}
		if f == known || result == unknown {
			result = f
		}
	}
	return nil, result
}

// findIn looks up a name in one network of v, or in all of them if network is
// nil. A link hides, on its network, the name that it is an alias of; and what it
// leads to comes before names on other networks.
func (t *table) findIn(v *view, name, network []byte, family model.Family) ([]netip.Addr, finding) {
	links := v.links[string(name)]
	result := unknown
	if len(links) > 0 && network == nil {
		result = dangling
	}
	if len(links) > 0 {
		if addrs, f := t.search(v, network, family, func(z *zone, id []byte) *nameEntry { return z.linked(links, id) }); f == known {
			return addrs, f
		}
	}
	addrs, f := t.search(v, network, family, func(z *zone, id []byte) *nameEntry {
		if hidden(links, id) {
			return nil
		}
		h, _ := z.names.Get(name)
		return h
	})
	if f == unknown {
		f = result
	}
	return addrs, f
}

// search returns the addresses of the wanted family in the first network of v, or
// in the one of that name, where look finds any.
func (t *table) search(v *view, network []byte, family model.Family, look func(z *zone, id []byte) *nameEntry) ([]netip.Addr, finding) {
	result := unknown
	for _, id := range v.networks {
		z, ok := t.zones.Get(id)
		if !ok || network != nil && z.network != string(network) {
			continue
		}
		h := look(z, id)
		if h == nil {
			continue
		}
		result = known
		if addrs := h.of(family); len(addrs) > 0 {
			return addrs, known
		}
	}
	return nil, result
}

// hidden tells whether one of the links is an alias on a network.
func hidden(links []linkTarget, network []byte) bool {
	return slices.ContainsFunc(links, func(p linkTarget) bool { return p.on(network) })
}

func (p linkTarget) on(network []byte) bool {
	return len(p.network) == 0 || bytes.Equal(p.network, network)
}

// linked returns who is known under a name that one of the links stands for.
func (z *zone) linked(links []linkTarget, network []byte) *nameEntry {
	for _, p := range links {
		if !p.on(network) {
			continue
		}
		if h := z.first(p.names); h != nil {
			return h
		}
	}
	return nil
}

func (z *zone) first(names []string) *nameEntry {
	for _, name := range names {
		if h, ok := z.names.Get([]byte(name)); ok {
			return h
		}
	}
	return nil
}

func (h *nameEntry) of(family model.Family) []netip.Addr {
	switch family {
	case model.IPv4:
		return h.v4
	case model.IPv6:
		return h.v6
	}
	return nil
}

// findReverse returns the name, in wire form, of an address on one of v's
// networks; nil if there is none.
func (t *table) findReverse(v *view, a netip.Addr) (target []byte) {
	prefix := a.As16()
	for _, id := range v.networks {
		z, ok := t.zones.Get(id)
		if !ok {
			continue
		}
		z.reverse.Root().WalkPrefix(prefix[:], func(_ []byte, wire []byte) bool {
			target = wire
			return true
		})
		if target != nil {
			break
		}
	}
	return target
}

func sameResolver(a, b desired.Resolver) bool {
	return a.Namespace == b.Namespace && a.Internal == b.Internal && a.NDots == b.NDots &&
		slices.Equal(a.Networks, b.Networks) && slices.Equal(a.Links, b.Links) && slices.Equal(a.Servers, b.Servers) &&
		slices.EqualFunc(a.Routes, b.Routes, func(a, b desired.DNSRoute) bool {
			return a.Domain == b.Domain && slices.Equal(a.Servers, b.Servers)
		})
}
