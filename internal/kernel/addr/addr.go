// Package addr reads and writes the addresses of links (rtnetlink(7),
// RTM_*ADDR). IPv6 addresses are set without duplicate address detection (RFC
// 4862, IFA_F_NODAD) unless it is asked for: IPAM made them unique, and detection would
// hold them back for a second.
//
// It must not touch an address that somebody else put on a link.
//
// Ours: addresses with protocol 0x6c (IFA_PROTO, kernel 5.18). What the kernel
// or a user sets has another or none.
//
// What has gone wrong here: removing an IPv4 address silently takes the others
// of its subnet along (they are "secondary", unless promote_secondaries is set).
package addr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

const (
	// headerLen is the size of struct ifaddrmsg.
	headerLen = unix.SizeofIfAddrmsg
	// protoAttr is IFA_PROTO of linux/if_addr.h.
	protoAttr = 11
)

// Info is an address as the kernel has it.
type Info struct {
	Index  int // of its link
	Prefix netip.Prefix
	Ours   bool
}

// Put sets the address on the link with that index. What is there is not
// written; an IPv6 address that is there with another length is replaced. With detect
// the kernel looks for duplicates of an IPv6 address.
func Put(c *rtnl.Conn, index int, prefix netip.Prefix, detect bool) error {
	err := add(c, index, prefix, detect)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	// For IPv6 the kernel means by this that the address exists, whatever its
	// length.
	all, err := List(c, index)
	if err != nil {
		return err
	}
	for _, have := range all {
		if have.Prefix == prefix {
			return nil
		}
		if have.Prefix.Addr() == prefix.Addr() && prefix.Addr().Is6() {
			if err := remove(c, index, have.Prefix); err != nil {
				return err
			}
			return add(c, index, prefix, detect)
		}
	}
	return fmt.Errorf("address %s: %w", prefix, unix.EEXIST)
}

// Delete removes the address from the link, and puts back those of ours that the
// kernel removes with it. One that is missing is no error, and one that somebody
// else had set before we wanted it stays.
func Delete(c *rtnl.Conn, index int, prefix netip.Prefix) error {
	before, err := List(c, index)
	if err != nil {
		return err
	}
	if !slices.Contains(before, Info{Index: index, Prefix: prefix, Ours: true}) {
		return nil
	}
	if err := remove(c, index, prefix); err != nil {
		return err
	}
	for _, other := range before {
		if other.Ours && other.Prefix != prefix && other.Prefix.Masked() == prefix.Masked() {
			if err := Put(c, index, other.Prefix, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// List returns the addresses of the link with that index, of all links if it is
// 0.
func List(c *rtnl.Conn, index int) ([]Info, error) {
	msgs, err := c.Dump(rtnl.Request{Type: unix.RTM_GETADDR, Header: header(index, netip.Prefix{}, 0)})
	if err != nil {
		return nil, err
	}
	var out []Info
	for _, msg := range msgs {
		i, err := parse(msg)
		if err != nil {
			return nil, err
		}
		out = append(out, i)
	}
	return out, nil
}

func add(c *rtnl.Conn, index int, prefix netip.Prefix, detect bool) error {
	var flags byte
	if prefix.Addr().Is6() && !detect {
		flags = unix.IFA_F_NODAD
	}
	return c.Change(rtnl.Request{
		Type: unix.RTM_NEWADDR, Flags: netlink.Create | netlink.Excl, Header: header(index, prefix, flags),
		Attrs: func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.IFA_LOCAL, prefix.Addr().AsSlice())
			ae.Bytes(unix.IFA_ADDRESS, prefix.Addr().AsSlice())
			ae.Uint8(protoAttr, rtnl.Protocol)
			if b, ok := broadcast(prefix); ok {
				ae.Bytes(unix.IFA_BROADCAST, b.AsSlice())
			}
		},
	})
}

func remove(c *rtnl.Conn, index int, prefix netip.Prefix) error {
	err := c.Change(rtnl.Request{Type: unix.RTM_DELADDR, Header: header(index, prefix, 0), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_LOCAL, prefix.Addr().AsSlice())
		ae.Bytes(unix.IFA_ADDRESS, prefix.Addr().AsSlice())
	}})
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// broadcast is the last address of an IPv4 subnet that is large enough to have
// one (RFC 3021).
func broadcast(prefix netip.Prefix) (netip.Addr, bool) {
	if !prefix.Addr().Is4() || prefix.Bits() > 30 {
		return netip.Addr{}, false
	}
	b := prefix.Addr().As4()
	last := binary.BigEndian.Uint32(b[:]) | (1<<(32-prefix.Bits()) - 1)
	binary.BigEndian.PutUint32(b[:], last)
	return netip.AddrFrom4(b), true
}

// header is a struct ifaddrmsg; without a prefix it asks for both families.
func header(index int, prefix netip.Prefix, flags byte) []byte {
	b := make([]byte, headerLen)
	if prefix.IsValid() {
		b[0], b[1] = family(prefix.Addr()), byte(prefix.Bits())
	}
	b[2] = flags
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	return b
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// Parse reads a message about an address, without its netlink header.
func Parse(msg []byte) (Info, error) { return parse(msg) }

func parse(msg []byte) (Info, error) {
	var i Info
	var local, address netip.Addr
	err := rtnl.Attributes(msg, headerLen, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(ad.Bytes())
		case protoAttr:
			i.Ours = ad.Uint8() == rtnl.Protocol
		}
	})
	if err != nil {
		return Info{}, err
	}
	if !local.IsValid() { // IPv6 without a peer
		local = address
	}
	i.Index = int(int32(binary.NativeEndian.Uint32(msg[4:])))
	i.Prefix = netip.PrefixFrom(local, int(msg[1]))
	return i, nil
}
