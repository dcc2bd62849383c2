package kernel

import (
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/fdb"
	"github.com/linkspan/linkspan/internal/kernel/part"
)

// fdbs makes desired.FDB so, in namespaces with a VXLAN of ours.
type fdbs struct{ *pass }

func handleFDBs(p *pass) handler {
	h := fdbs{p}
	return handler{name: "forwarding databases", find: h.findAll, put: h.put, drop: h.drop}
}

// findAll looks at the VXLANs that are wanted, and nowhere else: one that is not goes as a
// whole, and in containers there are none.
func (h fdbs) findAll(want desired.State) (wrong, strays []desired.Delta) {
	tunnels := part.Tunnels(want)
	if len(tunnels) == 0 {
		return nil, nil
	}
	return h.inEach("forwarding databases", desired.KindFDB, func(g group) (found, error) { return h.find(g, tunnels[g.space]) })(want)
}

func (h fdbs) find(g group, tunnels []string) (f found, err error) {
	if len(tunnels) == 0 {
		return f, nil
	}
	err = h.in(g.space, func(s *space) error {
		have, err := fdb.List(s.conn)
		if err != nil {
			return err
		}
		for _, d := range g.deltas {
			row := d.New.(desired.FDB)
			index, there, err := f.onLink(h.pass, s, row.Link, d)
			if err != nil {
				return err
			}
			want := fdb.Info{Index: index, MAC: row.MAC, Remote: row.Remote}
			at := slices.IndexFunc(have, func(i fdb.Info) bool { return i.Matches(want) })
			if at >= 0 {
				have = slices.Delete(have, at, at+1)
			} else if there {
				f.check(d, missing)
			}
		}
		for _, i := range have {
			name := nameOf(s, i.Index)
			wanted := func(d desired.Delta) bool { // and will be put right
				return d.Key() == desired.FDB{Namespace: g.space, Link: name, MAC: i.MAC}.Key()
			}
			if slices.Contains(tunnels, name) && !slices.ContainsFunc(g.deltas, wanted) {
				f.stray(desired.HostOwner, desired.FDB{Namespace: g.space, Link: name, MAC: i.MAC, Remote: i.Remote})
			}
		}
		return nil
	})
	return f, err
}

func (h fdbs) put(g group) {
	h.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.FDB)
		index, err := h.indexOf(s, row.Link)
		if err == nil {
			err = fdb.Put(s.conn, fdb.Info{Index: index, MAC: row.MAC, Remote: row.Remote})
		}
		return about(err, "way to host %s on %s", row.Remote, row.Link)
	})
}

func (h fdbs) drop(g group) {
	h.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.FDB)
		return h.onLink(s, row.Link, func(index int) error { return fdb.Delete(s.conn, index, row.MAC) })
	})
}
