// Package neigh reads and writes permanent neighbour entries: which MAC address
// an IP address on a link has (rtnetlink(7), RTM_*NEIGH; RFC 826, RFC 4861).
//
// It must not touch what the kernel learns, except that a wanted entry replaces
// a learned one.
//
// Ours: entries with protocol 0x6c (NDA_PROTOCOL, kernel 5.0).
package neigh

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

const (
	// headerLen is the size of struct ndmsg.
	headerLen = 12
	// protocolAttr is NDA_PROTOCOL of linux/neighbour.h.
	protocolAttr = 12
)

// Info is a neighbour entry as the kernel has it.
type Info struct {
	Index     int // of its link
	IP        netip.Addr
	MAC       string // lower case
	Permanent bool
	Ours      bool
}

// Put sets a permanent entry on the link with that index. What is there is not
// written.
func Put(c *rtnl.Conn, want Info) error {
	return rtnl.Settle(
		func(flags netlink.HeaderFlags) error { return write(c, want, flags) },
		func() (bool, error) {
			all, err := List(c, want.Index)
			return slices.ContainsFunc(all, func(have Info) bool { return have.Matches(want) }), err
		})
}

// Matches tells whether an entry is the permanent one that is wanted.
func (i Info) Matches(want Info) bool {
	return i.Index == want.Index && i.IP == want.IP && i.MAC == strings.ToLower(want.MAC) && i.Permanent
}

// Delete removes the entry of an address. One that is missing is no error.
func Delete(c *rtnl.Conn, index int, ip netip.Addr) error {
	err := c.Change(rtnl.Request{Type: unix.RTM_DELNEIGH, Header: header(index, ip, 0), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.NDA_DST, ip.AsSlice())
	}})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// List returns the entries of the link with that index, of all links if it is 0.
func List(c *rtnl.Conn, index int) ([]Info, error) {
	req := rtnl.Request{Type: unix.RTM_GETNEIGH, Header: make([]byte, headerLen)}
	if index != 0 {
		req.Attrs = func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.NDA_IFINDEX, uint32(index)) }
	}
	msgs, err := c.Dump(req)
	if err != nil {
		return nil, err
	}
	var out []Info
	for _, msg := range msgs {
		i, err := parse(msg)
		if err != nil {
			return nil, err
		}
		if i.IP.IsValid() {
			out = append(out, i)
		}
	}
	return out, nil
}

func write(c *rtnl.Conn, want Info, flags netlink.HeaderFlags) error {
	return c.Change(rtnl.Request{
		Type: unix.RTM_NEWNEIGH, Flags: flags, Header: header(want.Index, want.IP, unix.NUD_PERMANENT),
		Attrs: func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.NDA_DST, want.IP.AsSlice())
			ae.Do(unix.NDA_LLADDR, func() ([]byte, error) { return net.ParseMAC(want.MAC) })
			ae.Uint8(protocolAttr, rtnl.Protocol)
		},
	})
}

// header is a struct ndmsg.
func header(index int, ip netip.Addr, state uint16) []byte {
	b := make([]byte, headerLen)
	b[0] = unix.AF_INET6
	if ip.Is4() {
		b[0] = unix.AF_INET
	}
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint16(b[8:], state)
	return b
}

func parse(msg []byte) (Info, error) {
	var i Info
	err := rtnl.Attributes(msg, headerLen, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.NDA_DST:
			i.IP, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.NDA_LLADDR:
			i.MAC = net.HardwareAddr(ad.Bytes()).String()
		case protocolAttr:
			i.Ours = ad.Uint8() == rtnl.Protocol
		}
	})
	if err != nil {
		return Info{}, err
	}
	i.Index = int(int32(binary.NativeEndian.Uint32(msg[4:])))
	i.Permanent = binary.NativeEndian.Uint16(msg[8:])&unix.NUD_PERMANENT != 0
	return i, nil
}
