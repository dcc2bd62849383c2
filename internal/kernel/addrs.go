package kernel

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/addr"
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
			err = addr.Put(s.conn, index, row.Prefix)
		}
		return about(err, "address %s on %s", row.Prefix, row.Link)
	})
}

func (h addrs) drop(g group) {
	h.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Addr)
		return h.onLink(s, row.Link, func(index int) error { return addr.Delete(s.conn, index, row.Prefix) })
	})
}
