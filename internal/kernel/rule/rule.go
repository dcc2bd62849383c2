// Package rule reads and writes policy routing rules (rtnetlink(7), RTM_*RULE) that have
// packets routed by a table of their own. Those with a link have what came in there, with a
// mark, delivered to this host; the package also keeps the table that does it: one route,
// to everywhere, of type local.
//
// It must not touch a rule, or a table, of somebody else.
//
// Ours: rules and routes with protocol 0x6c (`ip rule show`, `ip route show table
// 27763`).
package rule

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

const (
	// Table is the routing table that delivers everything to this host: rules with a link
	// lead there.
	Table = desired.AnswerTable
	// priority comes after the host's own addresses (0) and before all that users make
	// by default; those of what leaves from a port come last, what is near first.
	priority     = 0x6c
	priorityNear = priority + 1
	priorityPort = priority + 2

	headerLen = 12 // struct fib_rule_hdr
	toTable   = 1  // FR_ACT_TO_TBL
	// The loopback interface has the same number in every network namespace.
	loopback = 1
)

// Attributes of a rule, from include/uapi/linux/fib_rules.h.
const (
	fraSource     = 2
	fraIIFName    = 3
	fraPriority   = 6
	fraMark       = 10
	fraSuppress   = 14 // FRA_SUPPRESS_PREFIXLEN
	fraTable      = 15
	fraMask       = 16
	fraProtocol   = 21
	fraIPProtocol = 22
	fraSourcePort = 23 // a range, in host byte order
)

// Family is an address family: unix.AF_INET or unix.AF_INET6.
type Family byte

// Rule is one of ours. A packet must be all that it says.
type Rule struct {
	Family   Family
	Link     string     // that it came in by; empty: any, and the table is somebody else's affair
	Mark     uint32     // with a link all bits that it has must be set, otherwise it is the packet's; 0: any
	From     netip.Addr // invalid: any
	Protocol byte       // of IP; 0: any
	Port     uint16     // from which it comes, with Protocol
	Table    uint32     // 0 is the main table, without its default route
}

func (r Rule) priority() uint32 {
	switch {
	case r.Table == 0:
		return priorityNear
	case r.Port != 0:
		return priorityPort
	}
	return priority
}

func (r Rule) mask() uint32 {
	switch {
	case r.Mark == 0:
		return 0
	case r.Link != "":
		return r.Mark
	}
	return ^uint32(0)
}

// Put sets the rule, and with a link the table. What is there is not written again.
func Put(c *rtnl.Conn, r Rule) error {
	if r.Link != "" {
		if err := putRoute(c, r.Family); err != nil {
			return err
		}
	}
	err := c.Change(request(unix.RTM_NEWRULE, netlink.Create|netlink.Excl, r))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// Delete removes the rule, and with the last one of its family that has a link the table. A
// rule that is missing is no error.
func Delete(c *rtnl.Conn, r Rule) error {
	err := c.Change(request(unix.RTM_DELRULE, 0, r))
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EAFNOSUPPORT) {
		return err
	}
	if r.Link == "" {
		return nil
	}
	left, err := List(c)
	if err != nil || slices.ContainsFunc(left, func(o Rule) bool { return o.Family == r.Family && o.Link != "" }) {
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

// Delivers tells whether the table is as it should be that a rule with a link leads to. That
// of others is nobody's affair here.
func Delivers(c *rtnl.Conn, r Rule) (bool, error) {
	if r.Link == "" {
		return true, nil
	}
	header := routeHeader(r.Family)
	header[6] = unix.RT_SCOPE_UNIVERSE // which stands for all; the kernel filters by type too
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
	if r.From.IsValid() {
		header[2] = byte(r.From.BitLen())
	}
	return rtnl.Request{Type: kind, Flags: flags, Header: header, Attrs: func(ae *netlink.AttributeEncoder) {
		if r.From.IsValid() {
			ae.Bytes(fraSource, r.From.AsSlice())
		}
		if r.Link != "" {
			ae.String(fraIIFName, r.Link)
		}
		if r.Mark != 0 {
			ae.Uint32(fraMark, r.Mark)
			ae.Uint32(fraMask, r.mask())
		}
		if r.Protocol != 0 {
			ae.Uint8(fraIPProtocol, r.Protocol)
			ae.Bytes(fraSourcePort, binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, r.Port), r.Port))
		}
		if r.Table == 0 {
			ae.Uint32(fraSuppress, 0)
		}
		ae.Uint32(fraPriority, r.priority())
		ae.Uint32(fraTable, cmp.Or(r.Table, unix.RT_TABLE_MAIN))
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
	suppressed := ^uint32(0)
	var mask, first uint32
	var protocol byte
	whole := true
	err = rtnl.Attributes(msg, headerLen, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case fraSource:
			r.From, whole = netip.AddrFromSlice(ad.Bytes())
		case fraIIFName:
			r.Link = ad.String()
		case fraPriority:
			first = ad.Uint32()
		case fraMark:
			r.Mark = ad.Uint32()
		case fraSuppress:
			suppressed = ad.Uint32()
		case fraMask:
			mask = ad.Uint32()
		case fraTable:
			r.Table = ad.Uint32()
		case fraProtocol:
			protocol = ad.Uint8()
		case fraIPProtocol:
			r.Protocol = ad.Uint8()
		case fraSourcePort:
			if b := ad.Bytes(); len(b) == 4 {
				r.Port = binary.NativeEndian.Uint16(b)
			}
		}
	})
	if err != nil {
		return r, false, err
	}
	r.Family = Family(msg[0])
	near := r.Table == unix.RT_TABLE_MAIN && suppressed == 0
	if near {
		r.Table = 0
	}
	whole = whole && (near || suppressed == ^uint32(0)) && (r.Link == "" || r.Table == Table) && (!r.From.IsValid() || int(msg[2]) == r.From.BitLen())
	return r, whole && protocol == rtnl.Protocol && mask == r.mask() && first == r.priority(), nil
}
