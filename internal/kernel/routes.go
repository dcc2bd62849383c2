package kernel

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/route"
	"github.com/linkspan/linkspan/internal/model"
)

// routes makes desired.Route so.
type routes struct{ *pass }

func handleRoutes(p *pass) handler {
	h := routes{p}
	return handler{name: "routes", find: p.inEach("routes", desired.KindRoute, h.find), put: h.put, drop: h.drop}
}

func (h routes) find(g group) (f found, err error) {
	err = h.in(g.space, func(s *space) error {
		have, err := route.Ours(s.conn)
		if err != nil {
			return err
		}
		wanted := map[string]bool{}
		for _, d := range g.deltas {
			row := d.New.(desired.Route)
			wanted[row.Key().Name] = true
			spec, err := h.spec(s, row)
			if err == nil && model.IsGuest(s.name) && h.hasOwn(s, spec, have) {
				continue
			}
			if err != nil || !slices.ContainsFunc(have, func(i route.Info) bool { return i.Matches(spec) }) {
				f.check(d, missing)
			}
		}
		for _, i := range have {
			row := desired.Route{Namespace: g.space, Table: i.Table, Destination: i.Destination, Gateway: i.Gateway, Link: nameOf(s, i.Index)}
			if !wanted[row.Key().Name] {
				f.stray(desired.HostOwner, row)
			}
		}
		return nil
	})
	return f, err
}

// put makes routes so, those to what is on a link before those that lead through it.
func (h routes) put(g group) {
	g.deltas = slices.Clone(g.deltas)
	slices.SortStableFunc(g.deltas, func(a, b desired.Delta) int {
		return model.CompareBool(a.New.(desired.Route).Gateway.IsValid(), b.New.(desired.Route).Gateway.IsValid())
	})
	h.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Route)
		spec, err := h.spec(s, row)
		if err == nil {
			err = h.putOne(s, spec)
		}
		if model.IsGuest(s.name) && model.KindOf(err) == model.Conflict {
			return nil // a guest keeps the way that it has made for itself
		}
		return about(err, "route to %s", row.Destination)
	})
}

// putOne sets a route, and waits for the kernel to notice that the link has a
// carrier if that is why it does not know the gateway's subnet yet (IPv6 only:
// linkwatch runs up to a second late). Asking for the link makes kernels from 6.8
// on look at once.
func (h routes) putOne(s *space, spec route.Spec) error {
	err := route.Put(s.conn, spec)
	for wait := time.Millisecond; errors.Is(err, unix.EHOSTUNREACH) && spec.Index != 0 && wait < time.Second; wait *= 2 {
		if _, linkErr := link.ByIndex(s.conn, spec.Index); linkErr != nil {
			return err
		}
		if err = route.Put(s.conn, spec); !errors.Is(err, unix.EHOSTUNREACH) {
			break
		}
		select {
		case <-time.After(wait):
		case <-h.ctx.Done():
			return h.ctx.Err()
		}
	}
	return err
}

// hasOwn tells whether a guest has a route of its own to a destination.
func (h routes) hasOwn(s *space, spec route.Spec, ours []route.Info) bool {
	return !slices.ContainsFunc(ours, func(i route.Info) bool { return i.Destination == spec.Destination && i.Table == 0 }) && route.Exists(s.conn, spec.Destination)
}

// spec says what a row means to the kernel.
func (h routes) spec(s *space, row desired.Route) (route.Spec, error) {
	spec := route.Spec{Destination: row.Destination, Table: row.Table, Gateway: row.Gateway, Replace: s.name != desired.HostNamespace && !model.IsGuest(s.name)}
	if row.Link == "" {
		return spec, nil
	}
	var err error
	spec.Index, err = h.indexOf(s, row.Link)
	return spec, err
}

func (h routes) drop(g group) {
	h.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Route)
		if h.isDoomed(s, row.Link) {
			return nil
		}
		return about(route.Delete(s.conn, row.Destination, row.Table), "route to %s", row.Destination)
	})
}
