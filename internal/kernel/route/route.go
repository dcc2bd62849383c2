// Package route reads and writes unicast routes of the main table, and in namespaces of ours
// of others (rtnetlink(7), RTM_*ROUTE).
//
// It must not remove a route of somebody else; it replaces one only where the
// caller says that the namespace is ours.
//
// Ours: routes with protocol 0x6c (`ip route show proto 0x6c`).
package route

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

// headerLen is the size of struct rtmsg.
const headerLen = unix.SizeofRtMsg

// Spec is a route that is wanted.
type Spec struct {
	Destination netip.Prefix
	Table       uint32     // 0: the main table; in others gateways are taken to be on the link
	Gateway     netip.Addr // invalid for a destination on the link itself
	Index       int        // of the link; 0 lets the kernel find it by the gateway
	// Replace allows to replace a foreign route to the same destination.
	Replace bool
}

// Info is a route as the kernel has it.
type Info struct {
	Destination netip.Prefix
	Table       uint32 // 0: the main table
	Gateway     netip.Addr
	Index       int
	Protocol    byte
	Type        byte // unix.RTN_UNICAST, …
	Multipath   bool // several gateways: none of them is in Gateway
}

// OnLink tells whether the destination is reached without a gateway.
func (i Info) OnLink() bool {
	return i.Type == unix.RTN_UNICAST && !i.Gateway.IsValid() && !i.Multipath && i.Index != 0
}

// Matches tells whether a route of ours is as wanted.
func (i Info) Matches(s Spec) bool {
	return i.Destination == s.Destination && i.Table == s.Table && i.Gateway == s.Gateway &&
		(s.Index == 0 || i.Index == s.Index) && i.Type == unix.RTN_UNICAST
}

// Put sets the route. One of ours that is there as wanted is not written.
func Put(c *rtnl.Conn, s Spec) error {
	return rtnl.Settle(
		func(flags netlink.HeaderFlags) error { return add(c, s, flags) },
		func() (bool, error) {
			have, err := find(c, s.Destination, s.Table, rtnl.Protocol)
			if err == nil && len(have) == 0 && !s.Replace {
				err = model.Errorf(model.Conflict, "a route to %s already exists and was not made by this engine", s.Destination)
			}
			return slices.ContainsFunc(have, func(h Info) bool { return h.Matches(s) }), err
		})
}

// Delete removes our route to the destination from a table. One that is missing is no error.
func Delete(c *rtnl.Conn, destination netip.Prefix, at uint32) error {
	err := c.Change(rtnl.Request{
		Type: unix.RTM_DELROUTE, Header: header(destination, rtnl.Protocol, unix.RT_SCOPE_NOWHERE),
		Attrs: func(ae *netlink.AttributeEncoder) {
			dst(ae, destination)
			table(ae, at)
		},
	})
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENETUNREACH) {
		return nil
	}
	return err
}

// Ours lists the routes of ours, of both families.
func Ours(c *rtnl.Conn) ([]Info, error) { return list(c, rtnl.Protocol) }

// All lists the routes of the main table, of both families.
func All(c *rtnl.Conn) ([]Info, error) { return list(c, unix.RTPROT_UNSPEC) }

// Connected lists the routes of the main table that the kernel made for addresses of
// links, of both families.
func Connected(c *rtnl.Conn) ([]Info, error) { return list(c, unix.RTPROT_KERNEL) }

// Exists tells whether the main table has a route to the destination, whosever.
func Exists(c *rtnl.Conn, destination netip.Prefix) bool {
	have, err := find(c, destination, 0, unix.RTPROT_UNSPEC)
	return err == nil && len(have) > 0
}

// Reconnect sets the route to the subnet of an address on a link, as the kernel did when
// the address came.
func Reconnect(c *rtnl.Conn, index int, address netip.Prefix) error {
	h := header(address, unix.RTPROT_KERNEL, unix.RT_SCOPE_UNIVERSE)
	if address.Addr().Is4() {
		h[6] = unix.RT_SCOPE_LINK
	}
	err := c.Change(rtnl.Request{Type: unix.RTM_NEWROUTE, Flags: netlink.Create | netlink.Excl, Header: h, Attrs: func(ae *netlink.AttributeEncoder) {
		dst(ae, address)
		ae.Uint32(unix.RTA_OIF, uint32(index))
		if address.Addr().Is4() {
			ae.Bytes(unix.RTA_PREFSRC, address.Addr().AsSlice())
		} else {
			ae.Uint32(unix.RTA_PRIORITY, prefixMetric)
		}
	}})
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// prefixMetric is that of the routes to subnets of IPv6 addresses (IP6_RT_PRIO_ADDRCONF
// of the kernel).
const prefixMetric = 256

func list(c *rtnl.Conn, protocol byte) ([]Info, error) {
	var out []Info
	for _, f := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		some, err := dump(c, netip.PrefixFrom(f, 0), protocol)
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // no IPv6
		}
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out, nil
}

func find(c *rtnl.Conn, destination netip.Prefix, at uint32, protocol byte) ([]Info, error) {
	all, err := dump(c, destination, protocol)
	var out []Info
	for _, i := range all {
		if i.Destination == destination && i.Table == at {
			out = append(out, i)
		}
	}
	return out, err
}

// dump lists the main table of one family, and what is ours in others; the kernel filters by protocol
// (NETLINK_GET_STRICT_CHK).
func dump(c *rtnl.Conn, of netip.Prefix, protocol byte) ([]Info, error) {
	h := header(netip.PrefixFrom(of.Addr(), 0), protocol, unix.RT_SCOPE_UNIVERSE)
	if h[7] = unix.RTN_UNSPEC; protocol == rtnl.Protocol {
		h[4] = unix.RT_TABLE_UNSPEC
	}
	msgs, err := c.Dump(rtnl.Request{Type: unix.RTM_GETROUTE, Header: h})
	if errors.Is(err, unix.ENOENT) { // the family has no main table yet
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Info
	for _, msg := range msgs {
		i, err := parse(msg)
		if err != nil {
			return nil, err
		}
		if i.Table == 0 || i.Protocol == rtnl.Protocol && i.Type == unix.RTN_UNICAST {
			out = append(out, i)
		}
	}
	return out, nil
}

func add(c *rtnl.Conn, s Spec, flags netlink.HeaderFlags) error {
	scope := byte(unix.RT_SCOPE_UNIVERSE)
	if !s.Gateway.IsValid() && s.Destination.Addr().Is4() {
		scope = unix.RT_SCOPE_LINK
	}
	h := header(s.Destination, rtnl.Protocol, scope)
	if s.Table != 0 && s.Gateway.IsValid() {
		binary.NativeEndian.PutUint32(h[8:], unix.RTNH_F_ONLINK)
	}
	return c.Change(rtnl.Request{
		Type: unix.RTM_NEWROUTE, Flags: flags, Header: h,
		Attrs: func(ae *netlink.AttributeEncoder) {
			dst(ae, s.Destination)
			table(ae, s.Table)
			if s.Gateway.IsValid() {
				ae.Bytes(unix.RTA_GATEWAY, s.Gateway.AsSlice())
			}
			if s.Index != 0 {
				ae.Uint32(unix.RTA_OIF, uint32(s.Index))
			}
		},
	})
}

func dst(ae *netlink.AttributeEncoder, p netip.Prefix) {
	if p.Bits() > 0 {
		ae.Bytes(unix.RTA_DST, p.Masked().Addr().AsSlice())
	}
}

// table names a table, whose number has no place in a header.
func table(ae *netlink.AttributeEncoder, at uint32) {
	if at != 0 {
		ae.Uint32(unix.RTA_TABLE, at)
	}
}

// header is a struct rtmsg for a unicast route, of the main table if no attribute says
// otherwise.
func header(p netip.Prefix, protocol, scope byte) []byte {
	b := make([]byte, headerLen)
	b[0] = unix.AF_INET6
	if p.Addr().Is4() {
		b[0] = unix.AF_INET
	}
	b[1] = byte(p.Bits())
	b[4], b[5], b[6], b[7] = unix.RT_TABLE_MAIN, protocol, scope, unix.RTN_UNICAST
	return b
}

// Parse reads a message about a route, without its netlink header.
func Parse(msg []byte) (Info, error) { return parse(msg) }

// tableOf is the table in a header; large numbers are in an attribute.
func tableOf(msg []byte) byte {
	if len(msg) < headerLen {
		return 0
	}
	return msg[4]
}

func parse(msg []byte) (Info, error) {
	i := Info{Table: uint32(tableOf(msg))}
	var to netip.Addr
	err := rtnl.Attributes(msg, headerLen, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.RTA_DST:
			to, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.RTA_GATEWAY:
			i.Gateway, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.RTA_OIF:
			i.Index = int(ad.Uint32())
		case unix.RTA_TABLE:
			i.Table = ad.Uint32()
		case unix.RTA_MULTIPATH:
			i.Multipath = true
		}
	})
	if err != nil {
		return Info{}, err
	}
	if !to.IsValid() {
		to = netip.IPv6Unspecified()
		if msg[0] == unix.AF_INET {
			to = netip.IPv4Unspecified()
		}
	}
	i.Destination = netip.PrefixFrom(to, int(msg[1]))
	i.Protocol, i.Type = msg[5], msg[7]
	if i.Table == unix.RT_TABLE_MAIN {
		i.Table = 0
	}
	return i, nil
}
