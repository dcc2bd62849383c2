package kernel

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/guest"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/model"
)

// A guest's namespace was made by somebody else (model.Guest). It gets a name beside
// those of containers' and a mark, and from then on rows inside are applied as in any;
// but it is known by which namespace it is, since the name keeps it alive, and it goes
// on when the name goes: so its rows are removed one by one, and then the mark.

func isGuest(row desired.Namespace) bool { return row.Of != desired.Lent{} }

// mark is what says for whom a namespace is held.
func (h namespaces) mark(name string, owner desired.Owner) string {
	if model.IsGuest(name) {
		return link.LentMark(h.k.instance, owner)
	}
	return link.Mark(h.k.instance, owner)
}

// putGuest names the namespace of somebody else, and marks it.
func (h namespaces) putGuest(row desired.Namespace, owner desired.Owner) error {
	if err := h.k.netns.AwaitReleases(h.ctx); err != nil { // it may have been here before
		return err
	}
	file, err := h.k.netns.Open(row.Name)
	if err == nil && !netns.IsLent(file, row.Of) {
		file.Close()
		err = fs.ErrNotExist
	}
	named := err == nil
	if errors.Is(err, fs.ErrNotExist) {
		file, err = netns.Find(row.Of)
	}
	if err != nil {
		return fmt.Errorf("network namespace of %s: %w", row.Of.Path, err)
	}
	s, err := h.dial(row.Name, file)
	if err != nil {
		return err
	}
	if err := h.take(s, owner, named); err != nil {
		s.close()
		return err
	}
	h.keep(s)
	return nil
}

// take marks a guest's namespace for its owner and gives it its name, unless it has it.
// A number is another namespace's when the first has ended: what a repair finds by its
// number alone must bear our mark.
func (h namespaces) take(s *space, owner desired.Owner, named bool) error {
	lo, err := link.Get(s.conn, loopback)
	if err != nil {
		return err
	}
	mark := h.mark(s.name, owner)
	if h.repair && !named && lo.Alias != mark {
		return fmt.Errorf("network namespace of %s: it is another by now: %w", s.name, fs.ErrNotExist)
	}
	if lo.Alias != mark || !lo.Up {
		if err := link.SetMark(s.conn, mark); err != nil {
			return err
		}
	}
	if named {
		return nil
	}
	h.k.writes.Add(1)
	return h.k.netns.Bind(h.ctx, s.name, s.file)
}

// dropGuest gives a namespace back to its maker.
func (h namespaces) dropGuest(name string) error {
	file, err := h.k.netns.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		if h.k.netns.IsHusk(name) {
			return h.k.netns.Delete(name)
		}
		return nil
	}
	if err != nil {
		return err
	}
	mark, err := h.markOf(name)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	h.shut(name)
	h.k.writes.Add(1)
	return h.k.netns.Release(name, file, func() error { return guest.Leave(&h.k.writes, h.k.instance, mark, h.k.giveBack) })
}

// Guests looks at the namespaces of others, for whoever decides what becomes of them.
func (k *Kernel) Guests() guest.Namespaces {
	return guest.Namespaces{Instance: k.instance, Host: k.hostFile, Dir: k.netns, Dial: k.dial}
}

// markOf returns the mark that a namespace bears; empty if none of ours.
func (h namespaces) markOf(name string) (mark string, err error) {
	err = h.look(name, func(s *space) error {
		lo, err := link.Get(s.conn, loopback)
		if owner, ours := link.LentTo(h.k.instance, lo); ours {
			mark = link.LentMark(h.k.instance, owner)
		}
		return err
	})
	return mark, err
}
