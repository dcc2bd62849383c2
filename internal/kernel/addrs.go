package kernel

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/route"
)

// addrs makes desired.Addr so.
type addrs struct{ *pass }

func handleAddrs(p *pass) handler {
	h := addrs{p}
	return handler{name: "addresses", find: p.inEach("addresses", desired.KindAddr, h.find), put: h.put, drop: h.drop}
}

func (h addrs) find(g group) (f found, err error) {
	err = h.in(g.space, func(s *space) error {
		all, err := addr.List(s.conn, 0)
		if err != nil {
			return err
		}
		have := map[addr.Info]bool{}
		for _, i := range all {
			have[addr.Info{Index: i.Index, Prefix: i.Prefix, Ours: i.Ours}] = true
		}
		connected, err := h.connected(s)
		if err != nil {
			return err
		}
		for _, d := range g.deltas {
			row := d.New.(desired.Addr)
			index, there, err := f.onLink(h.pass, s, row.Link, d)
			if err != nil {
				return err
			}
			if !there {
				continue
			}
			ours, others := addr.Info{Index: index, Prefix: row.Prefix, Ours: true}, addr.Info{Index: index, Prefix: row.Prefix}
			if !have[ours] && !have[others] {
				f.check(d, missing)
			} else if connected != nil && h.isCut(s, connected, row, index) {
				f.check(d, "the route to its subnet is missing")
			}
			delete(have, ours)
		}
		for i := range have {
			if i.Ours {
				f.stray(desired.HostOwner, desired.Addr{Namespace: g.space, Link: nameOf(s, i.Index), Prefix: i.Prefix})
			}
		}
		return nil
	})
	return f, err
}

func (h addrs) put(g group) {
	h.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Addr)
		// The previous holder's connections must not be the new one's.
		if err := h.k.flusher.Await(h.ctx, []netip.Addr{row.Prefix.Addr()}); err != nil {
			return err
		}
		index, err := h.indexOf(s, row.Link)
		if err == nil {
			err = addr.Put(s.conn, index, row.Prefix, row.Detect)
		}
		if err == nil && h.repair {
			err = h.reconnect(s, row, index)
		}
		return about(err, "address %s on %s", row.Prefix, row.Link)
	})
}

// connected returns the routes that the host has for its addresses; nil for a namespace
// of a container: its routes are its own.
func (h addrs) connected(s *space) (map[route.Info]bool, error) {
	if s.name != desired.HostNamespace {
		return nil, nil
	}
	all, err := route.Connected(s.conn)
	out := map[route.Info]bool{}
	for _, i := range all {
		out[route.Info{Destination: i.Destination, Index: i.Index}] = true
	}
	return out, err
}

// isCut tells whether somebody has removed the route that an address brings with it. A
// link that is down has none, and one that belongs to a VRF has it elsewhere.
func (h addrs) isCut(s *space, connected map[route.Info]bool, row desired.Addr, index int) bool {
	have, err := h.lookup(s, row.Link)
	if err != nil || !have.Up || have.Master != 0 || row.Prefix.IsSingleIP() {
		return false
	}
	return !connected[route.Info{Destination: row.Prefix.Masked(), Index: index}] && !route.Exists(s.conn, row.Prefix.Masked())
}

// reconnect puts that route back.
func (h addrs) reconnect(s *space, row desired.Addr, index int) error {
	connected, err := h.connected(s)
	if err != nil || connected == nil || !h.isCut(s, connected, row, index) {
		return err
	}
	return route.Reconnect(s.conn, index, row.Prefix)
}

func (h addrs) drop(g group) {
	h.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Addr)
		return h.onLink(s, row.Link, func(index int) error { return addr.Delete(s.conn, index, row.Prefix) })
	})
}
