package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/route"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
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
	return h.k.netns.Release(name, file, func() error {
		conn, err := rtnl.Open(&h.k.writes)
		if err != nil {
			return err
		}
		defer conn.Close()
		// The mark tells whether it has come back since.
		had, err := link.Unmark(conn, mark)
		if err != nil || !had {
			return err
		}
		return errors.Join(link.FreeParents(conn, h.k.instance), h.k.giveBack())
	})
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

// Look says which network namespace is at a path, whether it has ways out, and whose it
// is already, if it bears our mark. Errors: NotFound if nothing is there; Invalid if it
// is none, or the host's own.
func (k *Kernel) Look(path string) (guest model.Guest, owner desired.Owner, err error) {
	file, lent, err := netns.Look(path)
	if err != nil {
		return model.Guest{}, "", err
	}
	defer file.Close()
	if netns.Same(file, k.hostFile) {
		return model.Guest{}, "", &model.Error{Op: "netns.look", Kind: model.Invalid,
			Err: fmt.Errorf("%s is the host's own network namespace", path), Way: "attach one of another process (unshare --net, ip netns add)"}
	}
	guest = model.Guest{Path: path, Device: lent.Device, Inode: lent.Inode, Boot: bootID()}
	conn, err := k.dial(context.Background(), file)
	if err != nil {
		return model.Guest{}, "", err
	}
	defer conn.Close()
	if lo, err := link.Get(conn, loopback); err == nil && !link.Dying(k.instance, lo) {
		var guest bool
		if owner, guest = link.LentTo(k.instance, lo); !guest {
			owner, _ = link.Owner(k.instance, lo)
		}
	}
	guest.Out4, guest.Out6, err = waysOut(conn)
	return guest, owner, err
}

// waysOut tells for each family whether a namespace has a default route that is not
// ours.
func waysOut(conn *rtnl.Conn) (four, six bool, err error) {
	all, err := route.All(conn)
	for _, r := range all {
		if r.Destination.Bits() != 0 || r.Protocol == rtnl.Protocol || r.Type != unix.RTN_UNICAST {
			continue
		}
		four, six = four || r.Destination.Addr().Is4(), six || r.Destination.Addr().Is6()
	}
	return four, six, err
}

// Deserted returns which of the guests, by the names of their namespaces, are no more:
// see netns.Dir.Deserted.
func (k *Kernel) Deserted(guests map[string]model.Guest) []string {
	all := map[string]desired.Lent{}
	for name, g := range guests {
		all[name] = desired.Lent{Path: g.Path, Device: g.Device, Inode: g.Inode}
	}
	return k.netns.Deserted(all)
}

// Inside returns the interfaces of the namespace at a path, as they are seen there.
// Errors are those of Look.
func (k *Kernel) Inside(path string) ([]facts.Inside, error) {
	file, _, err := netns.Look(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	conn, err := k.dial(context.Background(), file)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	links, err := link.List(conn)
	if err != nil {
		return nil, err
	}
	addrs, err := addr.List(conn, 0)
	out := make([]facts.Inside, 0, len(links))
	for _, l := range links {
		one := facts.Inside{Name: l.Name, MAC: l.MAC, Up: l.Up}
		for _, a := range addrs {
			if a.Index == l.Index {
				one.Addrs = append(one.Addrs, a.Prefix)
			}
		}
		out = append(out, one)
	}
	return out, err
}
