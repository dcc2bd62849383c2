package kernel

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/neigh"
)

// neighs makes desired.Neigh so.
type neighs struct{ *pass }

func handleNeighs(p *pass) handler {
	h := neighs{p}
	return handler{name: "neighbours", find: p.inEach("neighbours", desired.KindNeigh, h.find), put: h.put, drop: h.drop}
}

func (h neighs) find(g group) (f found, err error) {
	err = h.in(g.space, func(s *space) error {
		have, err := neigh.List(s.conn, 0)
		if err != nil {
			return err
		}
		type spot struct {
			index int
			ip    netip.Addr
		}
		at, wanted := map[spot]neigh.Info{}, map[spot]bool{}
		for _, i := range have {
			at[spot{i.Index, i.IP}] = i
		}
		for _, d := range g.deltas {
			row := d.New.(desired.Neigh)
			index, err := h.indexOf(s, row.Link)
			here := spot{index, row.IP}
			wanted[here] = true
			if err != nil || !at[here].Matches(neigh.Info{Index: index, IP: row.IP, MAC: row.MAC}) {
				f.check(d, missing)
			}
		}
		for _, i := range have {
			if i.Ours && !wanted[spot{i.Index, i.IP}] {
				f.stray(desired.HostOwner, desired.Neigh{Namespace: g.space, Link: nameOf(s, i.Index), IP: i.IP, MAC: i.MAC})
			}
		}
		return nil
	})
	return f, err
}

func (h neighs) put(g group) {
	h.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Neigh)
		index, err := h.indexOf(s, row.Link)
		if err == nil {
			err = neigh.Put(s.conn, neigh.Info{Index: index, IP: row.IP, MAC: row.MAC})
		}
		return about(err, "neighbour %s on %s", row.IP, row.Link)
	})
}

func (h neighs) drop(g group) {
	h.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Neigh)
		return h.onLink(s, row.Link, func(index int) error { return neigh.Delete(s.conn, index, row.IP) })
	})
}
