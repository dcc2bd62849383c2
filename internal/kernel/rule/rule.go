// Package rule reads and writes policy routing rules (rtnetlink(7), RTM_*RULE) that
// have packets with a mark, which came in by a link, delivered to this host, and the
// routing table that does it: one route, to everywhere, of type local.
//
// It must not touch a rule, or a table, of somebody else.
//
// Ours: rules and routes with protocol 0x6c (`ip rule show`, `ip route show table
// 27763`).
package rule

import (
	"errors"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

const (
	// Table is the routing table that delivers everything to this host.
	Table = 0x6c73
	// priority comes after the host's own addresses (0) and before all that users make
	// by default; only marked packets are concerned.
	priority = 0x6c

	headerLen = 12 // struct fib_rule_hdr
	toTable   = 1  // FR_ACT_TO_TBL
	// The loopback interface has the same number in every network namespace.
	loopback = 1
)

// Attributes of a rule, from include/uapi/linux/fib_rules.h.
const (
	fraIIFName  = 3
	fraPriority = 6
	fraMark     = 10
	fraTable    = 15
	fraMask     = 16
	fraProtocol = 21
)

// Family is an address family: unix.AF_INET or unix.AF_INET6.
type Family byte

// Rule is one of ours.
type Rule struct {
	Family Family
	Link   string
	Mark   uint32 // all bits that it has must be set in the packet's
}

// Put sets the rule, and the table. What is there is not written again.
func Put(c *rtnl.Conn, r Rule) error {
	if err := putRoute(c, r.Family); err != nil {
		return err
	}
	err := c.Change(request(unix.RTM_NEWRULE, netlink.Create|netlink.Excl, r))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// Delete removes the rule, and the table with the last one of its family. A rule that is
// missing is no error.
func Delete(c *rtnl.Conn, r Rule) error {
	err := c.Change(request(unix.RTM_DELRULE, 0, r))
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EAFNOSUPPORT) {
		return err
	}
	left, err := List(c)
	if err != nil || slices.ContainsFunc(left, func(o Rule) bool { return o.Family == r.Family }) {
		return err
	}
	err = c.Change(route(unix.RTM_DELROUTE, 0, r.Family))
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil
	}
	return err
}

// List returns the rules of ours, of both families.
func List(c *rtnl.Conn) ([]Rule, error) {
	var out []Rule
	for _, f := range []Family{unix.AF_INET, unix.AF_INET6} {
		header := make([]byte, headerLen)
		header[0] = byte(f)
		msgs, err := c.Dump(rtnl.Request{Type: unix.RTM_GETRULE, Header: header})
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // no IPv6
		}
		if err != nil {
			return nil, err
		}
		for _, msg := range msgs {
			if r, ours, err := Parse(msg); err != nil {
				return nil, err
			} else if ours {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// Delivers tells whether the table of a family is as it should be.
func Delivers(c *rtnl.Conn, f Family) (bool, error) {
	header := routeHeader(f)
	header[6] = unix.RT_SCOPE_UNIVERSE // which stands for all
	msgs, err := c.Dump(rtnl.Request{Type: unix.RTM_GETROUTE, Header: header, Attrs: table})
	if errors.Is(err, unix.ENOENT) { // nobody has ever used the table
		return false, nil
	}
	return len(msgs) > 0, err
}

func putRoute(c *rtnl.Conn, f Family) error {
	err := c.Change(route(unix.RTM_NEWROUTE, netlink.Create|netlink.Excl, f))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func request(kind uint16, flags netlink.HeaderFlags, r Rule) rtnl.Request {
	header := make([]byte, headerLen)
	header[0], header[7] = byte(r.Family), toTable
	return rtnl.Request{Type: kind, Flags: flags, Header: header, Attrs: func(ae *netlink.AttributeEncoder) {
		ae.String(fraIIFName, r.Link)
		ae.Uint32(fraPriority, priority)
		ae.Uint32(fraMark, r.Mark)
		ae.Uint32(fraMask, r.Mark)
		ae.Uint32(fraTable, Table)
		ae.Uint8(fraProtocol, rtnl.Protocol)
	}}
}

func route(kind uint16, flags netlink.HeaderFlags, f Family) rtnl.Request {
	header := routeHeader(f)
	return rtnl.Request{Type: kind, Flags: flags, Header: header, Attrs: func(ae *netlink.AttributeEncoder) {
		table(ae)
		ae.Uint32(unix.RTA_OIF, loopback)
	}}
}

// routeHeader is a struct rtmsg for a route of type local to everywhere.
func routeHeader(f Family) []byte {
	header := make([]byte, unix.SizeofRtMsg)
	header[0], header[5], header[6], header[7] = byte(f), rtnl.Protocol, unix.RT_SCOPE_HOST, unix.RTN_LOCAL
	return header
}

// table names the table, whose number has no place in a header.
func table(ae *netlink.AttributeEncoder) { ae.Uint32(unix.RTA_TABLE, Table) }

// Parse reads a message about a rule, without its netlink header, and tells whether it is
// one of ours.
func Parse(msg []byte) (r Rule, ours bool, err error) {
	var mask, at, first uint32
	var protocol byte
	err = rtnl.Attributes(msg, headerLen, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case fraIIFName:
			r.Link = ad.String()
		case fraPriority:
			first = ad.Uint32()
		case fraMark:
			r.Mark = ad.Uint32()
		case fraMask:
			mask = ad.Uint32()
		case fraTable:
			at = ad.Uint32()
		case fraProtocol:
			protocol = ad.Uint8()
		}
	})
	if err != nil {
		return r, false, err
	}
	r.Family = Family(msg[0])
	return r, protocol == rtnl.Protocol && at == Table && mask == r.Mark && first == priority && r.Link != "", nil
}
