package link

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

// moveIn moves an interface of the host to where it belongs, down, with its name and the
// mark. An interface of ours is not for others to give away.
func (w Want) moveIn(from Info) (State, error) {
	if _, ours := Owner(w.Instance, from); ours || from.Name == "lo" || w.File == nil {
		return State{}, model.Errorf(model.Conflict, "interface %s of the host cannot be moved into a container", from.Name)
	}
	// The kernel moves before it names: with a name that is taken, it would be left half way.
	if _, err := Get(w.Conn, w.Row.Name); err == nil {
		return State{}, w.nameTaken()
	} else if !errors.Is(err, unix.ENODEV) {
		return State{}, err
	}
	err := w.Parent.Change(rtnl.Request{Type: unix.RTM_SETLINK, Header: header(from.Index, 0, unix.IFF_UP), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_NET_NS_FD, uint32(w.File.Fd()))
		ae.String(unix.IFLA_IFNAME, w.Row.Name)
		ae.Bytes(unix.IFLA_IFALIAS, []byte(Mark(w.Instance, w.Owner)))
		if w.Row.MAC != "" {
			ae.Do(unix.IFLA_ADDRESS, macBytes(w.Row.MAC))
		}
		if w.Row.MTU != 0 {
			ae.Uint32(unix.IFLA_MTU, uint32(w.Row.MTU))
		}
	}})
	if err != nil {
		return State{}, &model.Error{Kind: model.Unfit, Err: fmt.Errorf("error moving interface %s into the container: %w", from.Name, err)}
	}
	made, err := Get(w.Conn, w.Row.Name)
	return State{Host: made}, err
}

// GiveBack moves an interface back to the host that was moved into a container, down and
// under the name that it had there; if that is taken, under one that nobody has.
func (w Want) GiveBack(have Info) error {
	give := func(name string) error {
		return w.Conn.Change(rtnl.Request{Type: unix.RTM_SETLINK, Header: header(have.Index, 0, unix.IFF_UP), Attrs: func(ae *netlink.AttributeEncoder) {
			ae.Uint32(unix.IFLA_NET_NS_FD, uint32(w.Home.Fd()))
			ae.String(unix.IFLA_IFNAME, name)
			ae.Bytes(unix.IFLA_IFALIAS, nil)
		}})
	}
	name := w.Row.Parent.Name
	if _, err := Get(w.Parent, name); err == nil {
		name = Unfinished(w.Instance, w.Row.Namespace)
	}
	err := give(name)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) { // it is bound to its namespace
		return remove(w.Conn, have.Name)
	}
	return gone(err)
}
