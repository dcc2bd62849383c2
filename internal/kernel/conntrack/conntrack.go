// Package conntrack forgets connections of addresses that are gone, so that the
// next holder of an address does not get the previous one's packets (ctnetlink,
// linux/netfilter/nfnetlink_conntrack.h).
//
// Listing connections makes the kernel walk its whole table, ten milliseconds
// even if it is empty; so a Flusher does it in the background, once for all
// addresses that have come together, and who wants to give such an address out
// again waits for it.
//
// It must not touch a connection that does not involve one of those addresses.
//
// Ours: nothing; connections carry no mark.
package conntrack

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// Message types and attributes of linux/netfilter/nfnetlink_conntrack.h.
const (
	subsystem = 1 << 8 // NFNL_SUBSYS_CTNETLINK
	get       = subsystem | 1
	remove    = subsystem | 2

	tupleOrig  = 1
	tupleReply = 2
	zone       = 18

	tupleIP = 1

	ipv4Source      = 1
	ipv4Destination = 2
	ipv6Source      = 3
	ipv6Destination = 4

	// headerLen is the size of struct nfgenmsg: family, version, resource.
	headerLen = 4
)

// Flush removes every connection that has one of the addresses as source or
// destination in either direction, in the namespace of the calling thread. A
// kernel without connection tracking has nothing to forget.
func Flush(gone map[netip.Addr]bool) error {
	c, err := rtnl.OpenProtocol(unix.NETLINK_NETFILTER, new(atomic.Int64))
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	var found []flow
	err = c.Each(rtnl.Request{Type: get, Header: header(unix.AF_UNSPEC)}, func(msg []byte) error {
		f, err := parse(msg)
		if err == nil && f.involves(gone) {
			found = append(found, f)
		}
		return err
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	// An interrupted dump has missed what came while it ran; nothing new comes
	// for an address that is gone.
	if err != nil && !errors.Is(err, rtnl.ErrInterrupted) {
		return fmt.Errorf("list connections: %w", err)
	}
	for _, f := range found {
		err := c.Change(rtnl.Request{Type: remove, Header: header(f.family), Attrs: f.key})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove a connection: %w", err)
		}
	}
	return nil
}

// flow is one connection: what names it, and whom it is between.
type flow struct {
	family byte
	orig   []byte
	zone   []byte
	ends   []netip.Addr
}

func (f flow) involves(gone map[netip.Addr]bool) bool {
	for _, a := range f.ends {
		if gone[a] {
			return true
		}
	}
	return false
}

// key is what the kernel finds a connection by.
func (f flow) key(ae *netlink.AttributeEncoder) {
	ae.Bytes(netlink.Nested|tupleOrig, f.orig)
	if f.zone != nil {
		ae.Bytes(zone, f.zone)
	}
}

func header(family byte) []byte { return []byte{family, 0, 0, 0} }

func parse(msg []byte) (f flow, err error) {
	if len(msg) < headerLen {
		return flow{}, fmt.Errorf("conntrack message of %d bytes", len(msg))
	}
	f.family = msg[0]
	err = rtnl.Attributes(msg, headerLen, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case tupleOrig:
			f.orig = ad.Bytes()
			ad.Nested(f.tuple)
		case tupleReply:
			ad.Nested(f.tuple)
		case zone:
			f.zone = ad.Bytes()
		}
	})
	return f, err
}

// tuple reads the addresses of one direction.
func (f *flow) tuple(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		if ad.Type() == tupleIP {
			ad.Nested(f.addresses)
		}
	}
	return ad.Err()
}

func (f *flow) addresses(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case ipv4Source, ipv4Destination, ipv6Source, ipv6Destination:
			if a, ok := netip.AddrFromSlice(ad.Bytes()); ok {
				f.ends = append(f.ends, a)
			}
		}
	}
	return ad.Err()
}
