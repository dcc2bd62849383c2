// Package fdb reads and writes the forwarding databases of VXLANs: to which host frames
// for a MAC address go (rtnetlink(7), RTM_*NEIGH of AF_BRIDGE; bridge(8)).
//
// Ours: all entries of a VXLAN of ours. The kernel keeps no mark with them, and learns
// none there.
package fdb

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

// headerLen is the size of struct ndmsg.
const headerLen = 12

// Info is an entry as the kernel has it.
type Info struct {
	Index  int        // of the VXLAN
	MAC    string     // lower case
	Remote netip.Addr // the host; invalid if the entry names none
}

// Put sets an entry. What is there is not written.
func Put(c *rtnl.Conn, want Info) error {
	return rtnl.Settle(
		func(flags netlink.HeaderFlags) error { return write(c, want, flags) },
		func() (bool, error) {
			all, err := List(c)
			return slices.ContainsFunc(all, func(have Info) bool { return have.Matches(want) }), err
		})
}

// Matches tells whether an entry is the one that is wanted.
func (i Info) Matches(want Info) bool {
	return i.Index == want.Index && i.MAC == strings.ToLower(want.MAC) && i.Remote == want.Remote
}

// Delete removes the entry of a MAC address. One that is missing is no error.
func Delete(c *rtnl.Conn, index int, mac string) error {
	err := c.Change(rtnl.Request{Type: unix.RTM_DELNEIGH, Header: header(index, 0), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.Do(unix.NDA_LLADDR, func() ([]byte, error) { return net.ParseMAC(mac) })
	}})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// List returns the entries of all links of the namespace that name a host.
func List(c *rtnl.Conn) ([]Info, error) {
	msgs, err := c.Dump(rtnl.Request{Type: unix.RTM_GETNEIGH, Header: header(0, 0)})
	if err != nil {
		return nil, err
	}
	var out []Info
	for _, msg := range msgs {
		i, err := parse(msg)
		if err != nil {
			return nil, err
		}
		if i.Remote.IsValid() {
			out = append(out, i)
		}
	}
	return out, nil
}

func write(c *rtnl.Conn, want Info, flags netlink.HeaderFlags) error {
	return c.Change(rtnl.Request{
		Type: unix.RTM_NEWNEIGH, Flags: flags, Header: header(want.Index, unix.NUD_PERMANENT),
		Attrs: func(ae *netlink.AttributeEncoder) {
			ae.Do(unix.NDA_LLADDR, func() ([]byte, error) { return net.ParseMAC(want.MAC) })
			ae.Bytes(unix.NDA_DST, want.Remote.AsSlice())
		},
	})
}

// header is a struct ndmsg about the link's own entries, not those of a bridge that it is
// a port of. A dump takes neither a state nor flags.
func header(index int, state uint16) []byte {
	b := make([]byte, headerLen)
	b[0] = unix.AF_BRIDGE
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint16(b[8:], state)
	if index != 0 {
		b[10] = unix.NTF_SELF
	}
	return b
}

func parse(msg []byte) (Info, error) {
	var i Info
	err := rtnl.Attributes(msg, headerLen, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.NDA_DST:
			i.Remote, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.NDA_LLADDR:
			i.MAC = net.HardwareAddr(ad.Bytes()).String()
		}
	})
	if err != nil {
		return Info{}, err
	}
	i.Index = int(int32(binary.NativeEndian.Uint32(msg[4:])))
	return i, nil
}
