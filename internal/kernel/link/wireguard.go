package link

import (
	"context"
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/tun"
)

// createWireGuard makes a WireGuard interface, down, where it belongs. The host's namespace is
// asked to, so that its UDP socket is the host's (kernel: wg_newlink, creating_net). Where the
// kernel has no WireGuard, it is a TUN interface that stays. The error is unix.EEXIST if the
// namespace has a link of that name.
func (w Want) createWireGuard() error {
	err := w.Parent.Change(rtnlNew(func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, w.Row.Name)
		if w.File != nil {
			ae.Uint32(unix.IFLA_NET_NS_FD, uint32(w.File.Fd()))
		}
		ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_KIND, string(desired.LinkWireGuard))
			return nil
		})
	}))
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	if _, err := Get(w.Conn, w.Row.Name); err == nil {
		return unix.EEXIST
	} else if !errors.Is(err, unix.ENODEV) {
		return err
	}
	create := func() error { return tun.Create(w.Row.Name) }
	if w.File == nil {
		return create()
	}
	return w.Netns.Enter(context.Background(), w.File, create) // at most for a place: ioctls do not wait
}
