// Package guest looks at network namespaces that somebody else made (model.Guest), and
// leaves them as they were. It must not change one that does not bear our mark.
package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/observe"
	"github.com/linkspan/linkspan/internal/kernel/route"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

// Namespaces looks into namespaces of others. Its methods may be called from any
// goroutine.
type Namespaces struct {
	Instance string   // of the engine, in marks
	Host     *os.File // the host's own namespace
	Dir      *netns.Dir
	// Dial opens a conversation with a namespace.
	Dial func(ctx context.Context, namespace *os.File) (*rtnl.Conn, error)
}

// Leave takes the mark off the namespace that the calling thread is in, and what is ours
// besides, unless it bears another mark: it has come back since. last is called then.
func Leave(writes *atomic.Int64, instance, mark string, last func() error) error {
	conn, err := rtnl.Open(writes)
	if err != nil {
		return err
	}
	defer conn.Close()
	had, err := link.Unmark(conn, mark)
	if err != nil || !had {
		return err
	}
	return errors.Join(link.FreeParents(conn, instance), last())
}

// Look says which network namespace is at a path, whether it has ways out, and whose it
// is already, if it bears our mark. Errors: NotFound if nothing is there; Invalid if it
// is none, or the host's own.
func (n Namespaces) Look(path string) (guest model.Guest, owner desired.Owner, err error) {
	file, lent, err := netns.Look(path)
	if err != nil {
		return model.Guest{}, "", err
	}
	defer file.Close()
	if netns.Same(file, n.Host) {
		return model.Guest{}, "", &model.Error{Op: "netns.look", Kind: model.Invalid,
			Err: fmt.Errorf("%s is the host's own network namespace", path), Way: "attach one of another process (unshare --net, ip netns add)"}
	}
	guest = model.Guest{Path: path, Device: lent.Device, Inode: lent.Inode, Boot: observe.BootID()}
	conn, err := n.Dial(context.Background(), file)
	if err != nil {
		return model.Guest{}, "", err
	}
	defer conn.Close()
	if lo, err := link.Get(conn, "lo"); err == nil && !link.Dying(n.Instance, lo) {
		var guest bool
		if owner, guest = link.LentTo(n.Instance, lo); !guest {
			owner, _ = link.Owner(n.Instance, lo)
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
func (n Namespaces) Deserted(guests map[string]model.Guest) []string {
	all := map[string]desired.Lent{}
	for name, g := range guests {
		all[name] = desired.Lent{Path: g.Path, Device: g.Device, Inode: g.Inode}
	}
	return n.Dir.Deserted(all)
}

// Inside returns the interfaces of the namespace at a path, as they are seen there.
// Errors are those of Look.
func (n Namespaces) Inside(path string) ([]facts.Inside, error) {
	file, _, err := netns.Look(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	conn, err := n.Dial(context.Background(), file)
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
