package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// createVXLAN makes a VXLAN, down, where it belongs. The host's namespace is asked to, so
// that the packets are the host's (kernel: vxlan_dev_configure, the namespace of the
// socket that asks). Of one VNI there is one in it; the one before may be dying with its
// namespace. The error is unix.EEXIST if the namespace has a link of that name.
func (w Want) createVXLAN() error {
	var there error
	err := patiently(w.newVXLAN, func(err error) bool {
		if errors.Is(err, unix.EEXIST) {
			_, there = Get(w.Conn, w.Row.Name)
		}
		return errors.Is(err, unix.EEXIST) && errors.Is(there, unix.ENODEV)
	})
	switch {
	case errors.Is(err, unix.EEXIST) && errors.Is(there, unix.ENODEV):
		return &model.Error{Kind: model.Conflict, Err: fmt.Errorf("interface %s: %v", w.Row.Name, err),
			Who: fmt.Sprintf("the host has another VXLAN with VNI %d on UDP port %d, or an interface of that name", w.Row.VXLAN.ID, w.Row.VXLAN.Port),
			Way: "see which: ip -d link show type vxlan"}
	case errors.Is(err, unix.EOPNOTSUPP):
		return &model.Error{Kind: model.Unfit, Err: fmt.Errorf("interface %s: %w", w.Row.Name, err),
			Who: "this kernel has no links of the type vxlan", Way: "load its module, if there is one: modprobe vxlan"}
	}
	return err
}

func (w Want) newVXLAN() error {
	return w.Parent.Change(rtnlNew(func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, w.Row.Name)
		if w.File != nil {
			ae.Uint32(unix.IFLA_NET_NS_FD, uint32(w.File.Fd()))
		}
		if w.Row.MAC != "" {
			ae.Do(unix.IFLA_ADDRESS, macBytes(w.Row.MAC))
		}
		if w.Row.MTU != 0 {
			ae.Uint32(unix.IFLA_MTU, uint32(w.Row.MTU))
		}
		ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_KIND, string(desired.LinkVXLAN))
			info.Nested(unix.IFLA_INFO_DATA, func(data *netlink.AttributeEncoder) error {
				tunnel(data, *w.Row.VXLAN)
				return nil
			})
			return nil
		})
	}))
}

// tunnel writes what a VXLAN is.
func tunnel(data *netlink.AttributeEncoder, v desired.VXLAN) {
	data.Uint32(unix.IFLA_VXLAN_ID, v.ID)
	local := uint16(unix.IFLA_VXLAN_LOCAL)
	if v.Local.Is6() {
		local = unix.IFLA_VXLAN_LOCAL6
	}
	data.Bytes(local, v.Local.AsSlice())
	data.Uint8(unix.IFLA_VXLAN_LEARNING, 0)
	data.Bytes(unix.IFLA_VXLAN_PORT, binary.BigEndian.AppendUint16(nil, v.Port))
}

// carried reads what tunnel writes.
func (i *Info) carried(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_VXLAN_ID:
			i.VXLAN.ID = ad.Uint32()
		case unix.IFLA_VXLAN_LOCAL, unix.IFLA_VXLAN_LOCAL6:
			if a, ok := netip.AddrFromSlice(ad.Bytes()); ok && !a.IsUnspecified() {
				i.VXLAN.Local = a
			}
		case unix.IFLA_VXLAN_PORT:
			if b := ad.Bytes(); len(b) == 2 {
				i.VXLAN.Port = binary.BigEndian.Uint16(b)
			}
		}
	}
	return ad.Err()
}

// carriesWrong says what is another VXLAN than is wanted: none of it can be changed.
func (w Want) carriesWrong(have Info) string {
	elsewhere, err := w.leavesElsewhere(have)
	have.VXLAN.Home = w.Row.VXLAN.Home
	switch {
	case err != nil:
		return err.Error()
	case elsewhere:
		return "its packets leave by another namespace"
	case have.VXLAN == *w.Row.VXLAN:
		return ""
	}
	return fmt.Sprintf("is%s instead of%s", have.VXLAN, *w.Row.VXLAN)
}
