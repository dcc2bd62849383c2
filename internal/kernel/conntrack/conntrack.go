// Package conntrack forgets connections that lead where they no longer should:
// to addresses that are gone, so that the next holder of an address does not get
// the previous one's packets, and past ports that were published or withdrawn
// since, so that a client that keeps sending gets to the new container
// (ctnetlink, linux/netfilter/nfnetlink_conntrack.h).
//
// Listing connections makes the kernel walk its whole table, ten milliseconds
// even if it is empty; so a Flusher does it in the background, once for
// everything that has come together, and who wants to give an address out again
// waits for it.
//
// It must not touch a connection that does not involve one of those addresses or
// ports, nor one that leads where it should.
//
// Ours: nothing; connections carry no mark.
//
// What has gone wrong elsewhere: connections were looked for by the container's
// port instead of the host's, and those of other host addresses were removed.
package conntrack

import (
	"encoding/binary"
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
	statusAttr = 3
	idAttr     = 12
	zone       = 18

	tupleIP    = 1
	tupleProto = 2

	ipv4Source      = 1
	ipv4Destination = 2
	ipv6Source      = 3
	ipv6Destination = 4

	protoNumber          = 1
	protoSourcePort      = 2
	protoDestinationPort = 3

	// headerLen is the size of struct nfgenmsg: family, version, resource.
	headerLen = 4
)

// Bits of a connection's status (nf_conntrack_common.h).
const (
	statusAssured        = 1 << 2 // IPS_ASSURED: has seen traffic both ways
	statusDestinationNAT = 1 << 5 // IPS_DST_NAT
)

// Flush removes every connection that is stale, in the namespace of the calling
// thread. A kernel without connection tracking has nothing to forget.
func Flush(stale Stale) error {
	c, err := rtnl.OpenProtocol(unix.NETLINK_NETFILTER, new(atomic.Int64))
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	f, err := stale.filter()
	if err != nil {
		return err
	}
	var found []flow
	err = c.Each(rtnl.Request{Type: get, Header: header(unix.AF_UNSPEC)}, func(msg []byte) error {
		one, err := parse(msg)
		if err == nil && f.matches(one) {
			found = append(found, one)
		}
		return err
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	// An interrupted dump has missed what came while it ran; what is new goes
	// where it should.
	if err != nil && !errors.Is(err, rtnl.ErrInterrupted) {
		return fmt.Errorf("list connections: %w", err)
	}
	for _, one := range found {
		err := c.Change(rtnl.Request{Type: remove, Header: header(one.family), Attrs: one.key})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove a connection: %w", err)
		}
	}
	return nil
}

// flow is one connection: what names it, and whom it is between.
type flow struct {
	family   byte
	raw      []byte // the original direction, as it came
	id       []byte
	zone     []byte
	protocol byte
	status   uint32
	orig     direction
	reply    direction
}

// direction is whom a connection's packets are from and to in one direction.
type direction struct {
	source, destination         netip.Addr
	sourcePort, destinationPort uint16
}

// key is what the kernel finds a connection by. The ID keeps one that came to
// bear the same addresses meanwhile.
func (f flow) key(ae *netlink.AttributeEncoder) {
	ae.Bytes(netlink.Nested|tupleOrig, f.raw)
	if f.id != nil {
		ae.Bytes(idAttr, f.id)
	}
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
			f.raw = ad.Bytes()
			ad.Nested(func(ad *netlink.AttributeDecoder) error { return f.tuple(ad, &f.orig) })
		case tupleReply:
			ad.Nested(func(ad *netlink.AttributeDecoder) error { return f.tuple(ad, &f.reply) })
		case statusAttr:
			f.status = uint32(number(ad.Bytes()))
		case idAttr:
			f.id = ad.Bytes()
		case zone:
			f.zone = ad.Bytes()
		}
	})
	return f, err
}

// tuple reads one direction.
func (f *flow) tuple(ad *netlink.AttributeDecoder, d *direction) error {
	for ad.Next() {
		switch ad.Type() {
		case tupleIP:
			ad.Nested(d.addresses)
		case tupleProto:
			ad.Nested(func(ad *netlink.AttributeDecoder) error { return f.ports(ad, d) })
		}
	}
	return ad.Err()
}

func (d *direction) addresses(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		a, _ := netip.AddrFromSlice(ad.Bytes())
		switch ad.Type() {
		case ipv4Source, ipv6Source:
			d.source = a
		case ipv4Destination, ipv6Destination:
			d.destination = a
		}
	}
	return ad.Err()
}

func (f *flow) ports(ad *netlink.AttributeDecoder, d *direction) error {
	for ad.Next() {
		n := number(ad.Bytes())
		switch ad.Type() {
		case protoNumber:
			f.protocol = byte(n)
		case protoSourcePort:
			d.sourcePort = uint16(n)
		case protoDestinationPort:
			d.destinationPort = uint16(n)
		}
	}
	return ad.Err()
}

// number reads an integer in network byte order of up to 8 bytes, the last of
// them if there are more.
func number(b []byte) uint64 {
	var full [8]byte
	b = b[max(0, len(b)-len(full)):]
	copy(full[len(full)-len(b):], b)
	return binary.BigEndian.Uint64(full[:])
}
