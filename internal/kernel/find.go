package kernel

import (
	"cmp"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/neigh"
	"github.com/linkspan/linkspan/internal/kernel/route"
)

// found is how one namespace differs from what is wanted of it.
type found struct {
	wrong  []defect
	strays []desired.Delta // of ours and wanted by nobody
}

// defect is a wanted row that the kernel does not have as it should.
type defect struct {
	delta desired.Delta
	why   string
}

// check adds a defect if there is a reason.
func (f *found) check(d desired.Delta, why string) {
	if why != "" {
		f.wrong = append(f.wrong, defect{d, why})
	}
}

// stray adds something that is left over.
func (f *found) stray(owner desired.Owner, row desired.Row) {
	f.strays = append(f.strays, desired.Delta{Owner: owner, Old: row})
}

// search runs a phase's find in every namespace of ours and in the host's, and
// writes down the drift. The deltas are ready to be applied.
func (t *turn) search(p phase, want desired.State) (wrong, strays []desired.Delta) {
	var mu sync.Mutex // guards all
	var all found
	var workers errgroup.Group
	workers.SetLimit(maxWorkers)
	for _, g := range territory(p.kind, want) {
		workers.Go(func() error {
			f := t.findIn(p, g)
			mu.Lock()
			defer mu.Unlock()
			all.wrong = append(all.wrong, f.wrong...)
			all.strays = append(all.strays, f.strays...)
			return nil
		})
	}
	_ = workers.Wait() // errors are kept in the turn
	slices.SortFunc(all.wrong, func(a, b defect) int { return byKey(a.delta, b.delta) })
	slices.SortFunc(all.strays, byKey)
	for _, w := range all.wrong {
		wrong = append(wrong, w.delta)
		t.drift = append(t.drift, w.delta.New.String()+": "+w.why)
	}
	for _, s := range all.strays {
		t.drift = append(t.drift, s.Old.String()+": left over")
	}
	return wrong, all.strays
}

func byKey(a, b desired.Delta) int { return cmp.Compare(a.Key().Name, b.Key().Name) }

// territory groups the wanted rows of a kind by namespace; namespaces of ours
// where nothing of the kind is wanted are there too, for strays.
func territory(kind desired.Kind, want desired.State) []group {
	deltas := map[string][]desired.Delta{desired.HostNamespace: nil}
	for o := range want.Kind(desired.KindNamespace) {
		deltas[o.Row.Space()] = nil
	}
	for o := range want.Kind(kind) {
		name := o.Row.Space()
		deltas[name] = append(deltas[name], desired.Delta{Owner: o.Owner, New: o.Row})
	}
	var out []group
	for name, ds := range deltas {
		out = append(out, group{name, ds})
	}
	return out
}

func (t *turn) findIn(p phase, g group) found {
	f, err := p.find(t, g)
	if errors.Is(err, fs.ErrNotExist) { // the namespace is missing, and so is all in it
		f = found{}
		for _, d := range g.deltas {
			f.check(d, "missing")
		}
		return f
	}
	t.note(about(err, "look at the %s of %s", p.name, cmp.Or(g.space, "the host")))
	return f
}

// findNamespaces compares the wanted namespaces with the directory. Ours are
// known by their mark, which a container that may configure its own network can
// remove: a wanted namespace that is there is therefore marked again.
func (t *turn) findNamespaces(want desired.State) (wrong, strays []desired.Delta) {
	wanted := map[string]bool{}
	for o := range want.Kind(desired.KindNamespace) {
		name := o.Row.(desired.Namespace).Name
		wanted[name] = true
		if why := t.namespaceDrift(name, o.Owner); why != "" {
			wrong = append(wrong, desired.Delta{Owner: o.Owner, New: o.Row})
			t.tell(o.Row.String() + ": " + why)
		}
	}
	names, err := t.k.netns.List()
	t.note(err)
	for _, name := range names {
		if wanted[name] {
			continue
		}
		if owner, ours := t.ownerOfSpace(name); ours {
			row := desired.Namespace{Name: name}
			strays = append(strays, desired.Delta{Owner: owner, Old: row})
			t.tell(row.String() + ": left over")
		}
	}
	for _, name := range t.k.netns.Husks() {
		if !wanted[name] { // else it is mounted on again
			row := desired.Namespace{Name: name}
			strays = append(strays, desired.Delta{Old: row})
			t.tell(row.String() + ": an empty file is left over")
		}
	}
	return wrong, strays
}

func (t *turn) namespaceDrift(name string, owner desired.Owner) (why string) {
	err := t.in(name, func(s *space) error {
		lo, err := link.Get(s.conn, loopback)
		switch {
		case err != nil:
			return err
		case lo.Alias != link.Mark(t.k.instance, owner):
			why = "is not marked as ours"
		case !lo.Up:
			why = "lo is down"
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return "missing"
	}
	if err != nil {
		return err.Error()
	}
	return why
}

// ownerOfSpace says for whom a namespace that nobody wants was made.
func (t *turn) ownerOfSpace(name string) (owner desired.Owner, ours bool) {
	err := t.look(name, func(s *space) error {
		lo, err := link.Get(s.conn, loopback)
		owner, ours = link.Owner(t.k.instance, lo)
		return err
	})
	return owner, ours && err == nil
}

func (t *turn) findLinks(g group) (f found, err error) {
	err = t.in(g.space, func(s *space) error {
		all, err := link.List(s.conn)
		if err != nil {
			return err
		}
		there := map[string]link.Info{}
		for _, i := range all {
			there[i.Name] = i
		}
		for _, d := range g.deltas {
			row := d.New.(desired.Link)
			have, exists := there[row.Name]
			delete(there, row.Name)
			if !exists {
				f.check(d, "missing")
				continue
			}
			f.check(d, t.linkDrift(s, d.Owner, row, have))
		}
		for _, i := range there {
			if owner, ours := t.strayLink(g.space, i); ours {
				f.stray(owner, desired.Link{Namespace: g.space, Name: i.Name, Type: desired.LinkType(i.Type), Group: i.Group})
			}
		}
		return nil
	})
	return f, err
}

// strayLink tells whether a link that nobody wants is ours to remove. A port in
// our group without an alias is one that a crash left half made.
func (t *turn) strayLink(space string, i link.Info) (owner desired.Owner, ours bool) {
	if i.Name == loopback || link.Dying(t.k.instance, i) {
		return "", false
	}
	if owner, ours = link.Owner(t.k.instance, i); ours {
		return owner, true
	}
	halfMade := space == desired.HostNamespace && i.Type == string(desired.LinkVeth) && i.Group == desired.PortGroup && i.Alias == ""
	return desired.HostOwner, halfMade
}

func (t *turn) linkDrift(s *space, owner desired.Owner, row desired.Link, host link.Info) (why string) {
	master, err := t.masterOf(s, row)
	if errors.Is(err, unix.ENODEV) {
		return "bridge " + row.Master + " is missing"
	}
	if err == nil {
		err = t.want(s, owner, row, func(w link.Want) error {
			have, err := w.WithPeer(host)
			if err == nil {
				why = w.Drift(have, master.Index)
				t.remember(s, row, have)
			}
			return err
		})
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "the namespace of its other end is missing"
	}
	if err != nil {
		return err.Error()
	}
	return why
}

func (t *turn) findSysctls(g group) (f found, err error) {
	if len(g.deltas) == 0 {
		return f, nil
	}
	err = t.in(g.space, func(s *space) error {
		return t.k.netns.Enter(t.ctx, s.file, func() error {
			tree := t.k.sysctls.Open()
			defer tree.Close()
			for _, d := range g.deltas {
				row := d.New.(desired.Sysctl)
				f.check(d, tree.Drift(t.renamed(row), row.Value))
			}
			return nil
		})
	})
	return f, err
}

func (t *turn) findAddrs(g group) (f found, err error) {
	err = t.in(g.space, func(s *space) error {
		all, err := addr.List(s.conn, 0)
		if err != nil {
			return err
		}
		there := map[addr.Info]bool{}
		for _, i := range all {
			there[addr.Info{Index: i.Index, Prefix: i.Prefix, Ours: i.Ours}] = true
		}
		for _, d := range g.deltas {
			row := d.New.(desired.Addr)
			index, err := t.indexOf(s, row.Link)
			if errors.Is(err, unix.ENODEV) {
				f.check(d, "missing")
				continue
			}
			if err != nil {
				return err
			}
			ours, others := addr.Info{Index: index, Prefix: row.Prefix, Ours: true}, addr.Info{Index: index, Prefix: row.Prefix}
			if !there[ours] && !there[others] {
				f.check(d, "missing")
			}
			delete(there, ours)
		}
		for i := range there {
			if i.Ours {
				f.stray(desired.HostOwner, desired.Addr{Namespace: g.space, Link: nameOf(s, i.Index), Prefix: i.Prefix})
			}
		}
		return nil
	})
	return f, err
}

func (t *turn) findRoutes(g group) (f found, err error) {
	err = t.in(g.space, func(s *space) error {
		have, err := route.Ours(s.conn)
		if err != nil {
			return err
		}
		wanted := map[string]bool{}
		for _, d := range g.deltas {
			row := d.New.(desired.Route)
			wanted[row.Destination.String()] = true
			spec, err := t.route(s, row)
			if err != nil || !slices.ContainsFunc(have, func(i route.Info) bool { return i.Matches(spec) }) {
				f.check(d, "missing")
			}
		}
		for _, i := range have {
			if !wanted[i.Destination.String()] {
				f.stray(desired.HostOwner, desired.Route{
					Namespace: g.space, Destination: i.Destination, Gateway: i.Gateway, Link: nameOf(s, i.Index),
				})
			}
		}
		return nil
	})
	return f, err
}

func (t *turn) findNeighs(g group) (f found, err error) {
	err = t.in(g.space, func(s *space) error {
		have, err := neigh.List(s.conn, 0)
		if err != nil {
			return err
		}
		type spot struct {
			index int
			ip    netip.Addr
		}
		wanted := map[spot]bool{}
		for _, d := range g.deltas {
			row := d.New.(desired.Neigh)
			index, err := t.indexOf(s, row.Link)
			wanted[spot{index, row.IP}] = true
			want := neigh.Info{Index: index, IP: row.IP, MAC: row.MAC}
			if err != nil || !slices.ContainsFunc(have, func(i neigh.Info) bool { return i.Matches(want) }) {
				f.check(d, "missing")
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

// nameOf names a link for a stray row; a link that is gone has no name, and then
// nothing is left to remove.
func nameOf(s *space, index int) string {
	i, err := link.ByIndex(s.conn, index)
	if err != nil {
		return ""
	}
	return i.Name
}
