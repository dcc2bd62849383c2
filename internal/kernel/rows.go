package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/conntrack"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/neigh"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/route"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/kernel/sysctl"
	"github.com/linkspan/linkspan/internal/model"
)

// policies hands one half of the policy deltas to the firewall, without those
// whose owner has failed.
func (t *turn) policies(deltas []desired.Delta) {
	var todo []desired.Delta
	for _, d := range deltas {
		if !t.skips(d) {
			todo = append(todo, d)
		}
	}
	if len(todo) > 0 {
		t.note(t.k.firewall.Apply(t.ctx, todo))
	}
}

// closings are the removals of policies that let something in. They come first
// in a turn: what goes is closed before it goes, and what takes a place finds it
// free. So does a subnet in whose place another comes: the kernel takes no two that
// overlap. Any other subnet goes last, lest a packet leave with a container's address.
func closings(drop, put []desired.Delta) (closing, rest []desired.Delta) {
	for _, d := range drop {
		early := false
		switch row := d.Old.(type) {
		case desired.Allow, desired.Publish, desired.Direct, desired.DirectICMP, desired.DirectFrom:
			early = true
		case desired.Masquerade:
			early = slices.ContainsFunc(put, func(d desired.Delta) bool {
				other, ok := d.New.(desired.Masquerade)
				return ok && other.Subnet.Overlaps(row.Subnet)
			})
		}
		if early {
			closing = append(closing, d)
		} else {
			rest = append(rest, d)
		}
	}
	return closing, rest
}

func (t *turn) comparePolicies(want desired.State, dry bool) (desired.Report, error) {
	var rows []desired.Row
	for o := range want.Kind(desired.KindPolicy) {
		rows = append(rows, o.Row)
	}
	if dry {
		return t.k.firewall.Check(t.ctx, rows)
	}
	report, err := t.k.firewall.Resync(t.ctx, rows)
	if report.Writes > 0 { // while ports were not there, connections went elsewhere
		stale := map[desired.Publish]conntrack.Change{}
		for _, row := range rows {
			if p, ok := row.(desired.Publish); ok {
				stale[p] = conntrack.Published
			}
		}
		t.k.flusher.Forget(conntrack.Stale{Ports: stale})
	}
	return report, err
}

func (t *turn) putNamespaces(g group) {
	for _, d := range g.deltas {
		t.try(d, func() error { return t.putNamespace(d) })
	}
}

// putNamespace makes a namespace and keeps it open for the rows inside. A repair
// takes first what is there, be it without its name.
func (t *turn) putNamespace(d desired.Delta) error {
	name := d.New.(desired.Namespace).Name
	if t.repair {
		if err := t.reclaim(name, d.Owner); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s := &space{name: name, links: map[string]link.Info{}}
	err := t.k.netns.Create(t.ctx, name, func(file *os.File) (err error) {
		s.file = file
		if s.conn, err = rtnl.Open(&t.k.writes); err != nil {
			return err
		}
		return link.Claim(s.conn, link.Mark(t.k.instance, d.Owner))
	})
	if err == nil {
		t.k.writes.Add(1)
		t.keep(s)
		return nil
	}
	s.close()
	if errors.Is(err, fs.ErrExist) {
		return t.reclaim(name, d.Owner)
	}
	return err
}

// reclaim takes over a namespace that is there already and ours: it is marked
// for its owner and its loopback interface is up afterwards. A container that may
// configure its own network can remove the mark, so a repair does without it if
// the container is seen to be there, or an interface of ours is. The error is
// fs.ErrNotExist if nothing is there, or what was given up: that is removed.
func (t *turn) reclaim(name string, owner desired.Owner) error {
	abandoned := false
	err := t.in(name, func(s *space) error {
		lo, err := link.Get(s.conn, loopback)
		if err != nil {
			return err
		}
		mark := link.Mark(t.k.instance, owner)
		if lo.Alias == mark && lo.Up {
			return nil
		}
		if abandoned = link.Dying(t.k.instance, lo); abandoned {
			return nil
		}
		if !ours(t.k.instance, lo) && !(t.repair && t.livesIn(s)) {
			return &model.Error{
				Kind: model.Conflict,
				Err:  fmt.Errorf("network namespace %s already exists", name),
				Who:  "it was not made by this engine",
				Way:  "remove it: ip netns delete " + name,
			}
		}
		return link.Claim(s.conn, mark)
	})
	if err != nil || !abandoned {
		return err
	}
	t.shut(name)
	return errors.Join(t.k.netns.Delete(name), fs.ErrNotExist)
}

// livesIn tells whether a namespace without a mark is the one that its name stands
// for.
func (t *turn) livesIn(s *space) bool {
	if t.linkedTo(s) == linked {
		return true
	}
	file := t.living(s.name)
	if file == nil {
		return false
	}
	defer file.Close()
	return netns.Same(file, s.file)
}

func (t *turn) dropNamespaces(g group) {
	for _, d := range g.deltas {
		t.try(d, func() error { return t.dropNamespace(d.Old.(desired.Namespace).Name) })
	}
}

// dropNamespace gives a namespace up. It may live on for a while with processes
// that are slow to end, and must not be taken for the one of the next start.
func (t *turn) dropNamespace(name string) error {
	held := false
	err := t.in(name, func(s *space) error {
		lo, err := t.lookup(s, loopback)
		_, held = link.Owner(t.k.instance, lo)
		if err != nil || !held {
			return err
		}
		return link.Disown(s.conn, t.k.instance)
	})
	husk := errors.Is(err, fs.ErrNotExist) && t.k.netns.IsHusk(name)
	switch {
	case husk:
	case errors.Is(err, fs.ErrNotExist) || err == nil && !held:
		return nil
	case err != nil:
		return err
	}
	t.shut(name)
	t.k.writes.Add(1)
	return t.k.netns.Delete(name)
}

// putSysctls writes the values of one namespace in one visit.
func (t *turn) putSysctls(g group) {
	visit := func(s *space) error {
		return t.k.netns.Enter(t.ctx, s.file, func() error {
			tree := t.k.sysctls.Open()
			defer tree.Close()
			for _, d := range g.deltas {
				t.try(d, func() error { return t.putSysctl(tree, d.New.(desired.Sysctl)) })
			}
			return nil
		})
	}
	if err := t.in(g.space, visit); err != nil {
		for _, d := range g.deltas {
			t.try(d, func() error { return err })
		}
	}
}

func (t *turn) putSysctl(tree *sysctl.Tree, row desired.Sysctl) error {
	wrote, err := tree.Put(t.renamed(row), row.Value)
	if wrote {
		t.k.writes.Add(1)
	}
	return err
}

func (t *turn) putAddrs(g group) {
	t.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Addr)
		// The previous holder's connections must not be the new one's.
		if err := t.k.flusher.Await(t.ctx, []netip.Addr{row.Prefix.Addr()}); err != nil {
			return err
		}
		index, err := t.indexOf(s, row.Link)
		if err == nil {
			err = addr.Put(s.conn, index, row.Prefix)
		}
		return about(err, "address %s on %s", row.Prefix, row.Link)
	})
}

func (t *turn) dropAddrs(g group) {
	t.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Addr)
		return t.onLink(s, row.Link, func(index int) error { return addr.Delete(s.conn, index, row.Prefix) })
	})
}

func (t *turn) putRoutes(g group) {
	t.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Route)
		spec, err := t.route(s, row)
		if err == nil {
			err = t.putRoute(s, spec)
		}
		return about(err, "route to %s", row.Destination)
	})
}

// putRoute sets a route, and waits for the kernel to notice that the link has a
// carrier if that is why it does not know the gateway's subnet yet (IPv6 only:
// linkwatch runs up to a second late). Asking for the link makes kernels from 6.8
// on look at once.
func (t *turn) putRoute(s *space, spec route.Spec) error {
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
		case <-t.ctx.Done():
			return t.ctx.Err()
		}
	}
	return err
}

// route says what a row means to the kernel.
func (t *turn) route(s *space, row desired.Route) (route.Spec, error) {
	spec := route.Spec{Destination: row.Destination, Gateway: row.Gateway, Replace: s.name != desired.HostNamespace}
	if row.Link == "" {
		return spec, nil
	}
	var err error
	spec.Index, err = t.indexOf(s, row.Link)
	return spec, err
}

func (t *turn) dropRoutes(g group) {
	t.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Route)
		if t.isDoomed(s, row.Link) {
			return nil
		}
		return about(route.Delete(s.conn, row.Destination), "route to %s", row.Destination)
	})
}

func (t *turn) putNeighs(g group) {
	t.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Neigh)
		index, err := t.indexOf(s, row.Link)
		if err == nil {
			err = neigh.Put(s.conn, neigh.Info{Index: index, IP: row.IP, MAC: row.MAC})
		}
		return about(err, "neighbour %s on %s", row.IP, row.Link)
	})
}

func (t *turn) dropNeighs(g group) {
	t.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Neigh)
		return t.onLink(s, row.Link, func(index int) error { return neigh.Delete(s.conn, index, row.IP) })
	})
}

// onLink removes something from a link, unless the link goes as a whole or is
// gone.
func (t *turn) onLink(s *space, name string, f func(index int) error) error {
	if t.isDoomed(s, name) {
		return nil
	}
	index, err := t.indexOf(s, name)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	return f(index)
}

// forget has the connections of container addresses removed that are gone, and
// those that changes of published ports have put in the wrong. It comes last,
// when no packet can make a new one.
func (t *turn) forget(addrs, policies []desired.Delta) {
	stale := conntrack.Stale{Addrs: map[netip.Addr]bool{}, Ports: map[desired.Publish]conntrack.Change{}}
	for _, d := range addrs {
		if row := d.Old.(desired.Addr); row.Namespace != desired.HostNamespace {
			stale.Addrs[row.Prefix.Addr()] = true
		}
	}
	for _, d := range policies {
		if p, ok := d.Old.(desired.Publish); ok {
			stale.Ports[p] = conntrack.Withdrawn
		}
	}
	for _, d := range policies {
		if p, ok := d.New.(desired.Publish); ok {
			stale.Ports[p] = conntrack.Published
		}
	}
	t.k.flusher.Forget(stale)
}

// about says what an error is about.
func about(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}
