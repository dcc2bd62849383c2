package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

// namespaces makes desired.Namespace so: it comes beside the policies, before all else.
type namespaces struct{ *pass }

func handleNamespaces(p *pass) handler {
	h := namespaces{p}
	return handler{name: "namespaces", find: h.find, put: h.put, drop: h.drop, early: true}
}

// find compares the wanted namespaces with the directory. Ours are
// known by their mark, which a container that may configure its own network can
// remove: a wanted namespace that is there is therefore marked again.
func (h namespaces) find(want desired.State) (wrong, strays []desired.Delta) {
	wanted := map[string]bool{}
	for o := range want.Kind(desired.KindNamespace) {
		row := o.Row.(desired.Namespace)
		wanted[row.Name] = true
		if why := h.drift(row, o.Owner); why != "" {
			wrong = append(wrong, desired.Delta{Owner: o.Owner, New: o.Row})
			h.tell(o.Row.String() + ": " + why)
		}
	}
	names, err := h.k.netns.List()
	h.note(err)
	for _, name := range names {
		if wanted[name] {
			continue
		}
		if owner, ours := h.ownerOf(name); ours {
			row := desired.Namespace{Name: name}
			strays = append(strays, desired.Delta{Owner: owner, Old: row})
			h.tell(row.String() + ": left over")
		}
	}
	for _, name := range h.k.netns.Husks() {
		if !wanted[name] { // else it is mounted on again
			row := desired.Namespace{Name: name}
			strays = append(strays, desired.Delta{Old: row})
			h.tell(row.String() + ": an empty file is left over")
		}
	}
	return wrong, strays
}

func (h namespaces) drift(row desired.Namespace, owner desired.Owner) (why string) {
	err := h.in(row.Name, func(s *space) error {
		lo, err := link.Get(s.conn, loopback)
		switch {
		case err != nil:
			return err
		case isGuest(row) && !netns.IsLent(s.file, row.Of):
			why = "its name leads to another namespace"
		case lo.Alias != h.mark(row.Name, owner):
			why = "is not marked as ours"
		case !lo.Up:
			why = "lo is down"
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return missing
	}
	if err != nil {
		return err.Error()
	}
	return why
}

// ownerOf says for whom a namespace that nobody wants was made.
func (h namespaces) ownerOf(name string) (owner desired.Owner, ours bool) {
	err := h.look(name, func(s *space) error {
		lo, err := link.Get(s.conn, loopback)
		owner, ours = link.LentTo(h.k.instance, lo)
		switch guest := model.IsGuest(name); {
		case ours && !guest:
			ours = false // it is its maker's own name
		case !guest:
			owner, ours = link.Owner(h.k.instance, lo)
		}
		return err
	})
	return owner, ours && err == nil
}

func (h namespaces) put(g group) {
	for _, d := range g.deltas {
		h.try(d, func() error { return h.putOne(d) })
	}
}

// putOne makes a namespace and keeps it open for the rows inside. A repair
// takes first what is there, be it without its name.
func (h namespaces) putOne(d desired.Delta) error {
	row := d.New.(desired.Namespace)
	if isGuest(row) {
		return h.putGuest(row, d.Owner)
	}
	name := row.Name
	if h.repair {
		if err := h.reclaim(name, d.Owner); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s := &space{name: name, links: map[string]link.Info{}}
	err := h.k.netns.Create(h.ctx, name, func(file *os.File) (err error) {
		s.file = file
		if s.conn, err = rtnl.Open(&h.k.writes); err != nil {
			return err
		}
		return link.SetMark(s.conn, link.Mark(h.k.instance, d.Owner))
	})
	if err == nil {
		h.k.writes.Add(1)
		h.keep(s)
		return nil
	}
	s.close()
	if errors.Is(err, fs.ErrExist) {
		return h.reclaim(name, d.Owner)
	}
	return err
}

// reclaim takes over a namespace that is there already and ours: it is marked
// for its owner and its loopback interface is up afterwards. A container that may
// configure its own network can remove the mark, so a repair does without it if
// the container is seen to be there, or an interface of ours is. The error is
// fs.ErrNotExist if nothing is there, or what was given up: that is removed.
func (h namespaces) reclaim(name string, owner desired.Owner) error {
	abandoned := false
	err := h.in(name, func(s *space) error {
		lo, err := link.Get(s.conn, loopback)
		if err != nil {
			return err
		}
		mark := link.Mark(h.k.instance, owner)
		if lo.Alias == mark && lo.Up {
			return nil
		}
		if abandoned = link.Dying(h.k.instance, lo); abandoned {
			return nil
		}
		if !ours(h.k.instance, lo) && !(h.repair && h.livesIn(s)) {
			return &model.Error{
				Kind: model.Conflict,
				Err:  fmt.Errorf("network namespace %s already exists", name),
				Who:  "it was not made by this engine",
				Way:  "remove it: ip netns delete " + name,
			}
		}
		return link.SetMark(s.conn, mark)
	})
	if err != nil || !abandoned {
		return err
	}
	h.shut(name)
	return errors.Join(h.k.netns.Delete(name), fs.ErrNotExist)
}

// livesIn tells whether a namespace without a mark is the one that its name stands
// for.
func (h namespaces) livesIn(s *space) bool {
	if h.linkedTo(s) == linked {
		return true
	}
	file := h.living(s.name)
	if file == nil {
		return false
	}
	defer file.Close()
	return netns.Same(file, s.file)
}

func (h namespaces) drop(g group) {
	for _, d := range g.deltas {
		name, drop := d.Old.(desired.Namespace).Name, h.dropOne
		if model.IsGuest(name) {
			drop = h.dropGuest
		}
		h.try(d, func() error { return drop(name) })
	}
}

// dropOne gives a namespace up. It may live on for a while with processes
// that are slow to end, and must not be taken for the one of the next start.
func (h namespaces) dropOne(name string) error {
	held := false
	err := h.in(name, func(s *space) error {
		lo, err := h.lookup(s, loopback)
		_, held = link.Owner(h.k.instance, lo)
		if err != nil || !held {
			return err
		}
		if h.repair { // else they are removed by themselves
			if err := link.FreeParents(s.conn, h.k.instance); err != nil {
				return err
			}
		}
		return link.Disown(s.conn, h.k.instance)
	})
	husk := errors.Is(err, fs.ErrNotExist) && h.k.netns.IsHusk(name)
	switch {
	case husk:
	case errors.Is(err, fs.ErrNotExist) || err == nil && !held:
		return nil
	case err != nil:
		return err
	}
	h.shut(name)
	h.k.writes.Add(1)
	return h.k.netns.Delete(name)
}
