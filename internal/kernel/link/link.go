// Package link reads and writes network interfaces: bridges, veth pairs, macvlans,
// ipvlans, VLANs, VXLANs, WireGuard, dummies and the links that are adopted (rtnetlink(7), RTM_*LINK).
//
// It must not touch a link that is not ours, except that an adopted one is
// brought up and used as a master. Whether a link is a port of the right bridge
// and up is asked for in steps of their own (SetMaster, SetUp), because sysctls
// and addresses come in between.
//
// Ours: links whose alias (IFLA_IFALIAS) begins with "linkspan:<instance>:". The
// kernel takes no alias while it creates a link, so one that a crash left
// without is known by our interface group (ports) or by the MAC address that
// only we compute (bridges); one that hangs on a parent has until then a name that
// only we compute (Unfinished). Namespaces of ours bear the same alias on their lo.
//
// What has gone wrong here: a bridge whose MTU was given at creation forgets it
// when its last port leaves; one whose MTU was set afterwards keeps it
// (BROPT_MTU_SET_BY_USER). A bridge refuses to be told of packets larger than
// usual until it has had a port (br_set_gso_limits).
package link

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// headerLen is the size of struct ifinfomsg.
const headerLen = unix.SizeofIfInfomsg

// skipStatistics is RTEXT_FILTER_SKIP_STATS: counters are most of a link's
// message and nothing here reads them.
const skipStatistics = 1 << 3

// Info is a link as the kernel has it.
type Info struct {
	Index     int
	Name      string
	Type      string // "" for links without a kind, such as lo and hardware
	Alias     string
	MAC       string // lower case
	MTU       int    // bytes
	Packets   Packets
	Group     uint32
	Master    int            // index of the bridge it is a port of, or 0
	PeerIndex int            // of the other end of a veth, or of what the link hangs on, in its own namespace
	Parent    desired.Parent // how it hangs there, as far as it does; without the name
	VXLAN     desired.VXLAN  // of a VXLAN, without Home
	Space     int            // number of the namespace by which leaves what it carries, or that its other end is in; sameSpace for its own
	Hairpin   bool           // of a bridge's port: see SetPort
	Passes    uint16         // of a bridge's port: the reserved group addresses that it passes on (group_fwd_mask)
	Up        bool
}

// Mark returns the alias of a link that the instance holds for owner.
func Mark(instance string, owner desired.Owner) string {
	return markPrefix(instance) + string(owner)
}

// Owner returns whom a link of the instance is held for, and whether it is the
// instance's at all.
func Owner(instance string, i Info) (desired.Owner, bool) {
	owner, ours := strings.CutPrefix(i.Alias, markPrefix(instance))
	return desired.Owner(owner), ours
}

// Dying tells whether a link of the instance was retired: it has no function and
// vanishes together with the namespace of its other end.
func Dying(instance string, i Info) bool { return i.Alias == retiredMark(instance) }

func markPrefix(instance string) string { return "linkspan:" + instance + ":" }

func retiredMark(instance string) string { return markPrefix(instance) + "dying" }

// lent stands before the owner in the mark of a namespace that somebody else made: it has
// other names than ours, which are not ours to take away.
const lent = "lent:"

// LentMark is Mark for a namespace that somebody else made.
func LentMark(instance string, owner desired.Owner) string {
	return markPrefix(instance) + lent + string(owner)
}

// LentTo returns the owner for whom a namespace is held that somebody else made, by its
// loopback interface, and whether it is.
func LentTo(instance string, lo Info) (desired.Owner, bool) {
	owner, ours := strings.CutPrefix(lo.Alias, markPrefix(instance)+lent)
	return desired.Owner(owner), ours
}

// Get returns the link of that name. The error is unix.ENODEV if there is none.
func Get(c *rtnl.Conn, name string) (Info, error) {
	msg, err := c.Get(rtnl.Request{Type: unix.RTM_GETLINK, Header: header(0, 0, 0), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_EXT_MASK, skipStatistics)
		ae.String(unix.IFLA_IFNAME, name)
	}})
	if err != nil {
		return Info{}, err
	}
	return parse(msg)
}

// ByIndex returns the link of that index. The error is unix.ENODEV if there is
// none.
func ByIndex(c *rtnl.Conn, index int) (Info, error) {
	msg, err := c.Get(rtnl.Request{Type: unix.RTM_GETLINK, Header: header(index, 0, 0), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_EXT_MASK, skipStatistics)
	}})
	if err != nil {
		return Info{}, err
	}
	return parse(msg)
}

// List returns every link of the namespace.
func List(c *rtnl.Conn) ([]Info, error) {
	msgs, err := c.Dump(rtnl.Request{Type: unix.RTM_GETLINK, Header: header(0, 0, 0), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_EXT_MASK, skipStatistics)
	}})
	if err != nil {
		return nil, err
	}
	out := make([]Info, 0, len(msgs))
	for _, msg := range msgs {
		i, err := parse(msg)
		if err != nil {
			return nil, err
		}
		out = append(out, i)
	}
	return out, nil
}

// SetMark marks the namespace as ours and brings its loopback interface up, in one
// message.
func SetMark(c *rtnl.Conn, mark string) error {
	return set(c, "lo", change{flags: unix.IFF_UP, mask: unix.IFF_UP, attrs: func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFLA_IFALIAS, []byte(mark))
	}})
}

// Disown marks the namespace as one that was given up: it lives only as long as
// the processes that are still inside.
func Disown(c *rtnl.Conn, instance string) error {
	return set(c, "lo", change{attrs: func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFLA_IFALIAS, []byte(retiredMark(instance)))
	}})
}

// Unmark takes a mark off the namespace, if it is that which it has: it is its maker's
// again.
func Unmark(c *rtnl.Conn, mark string) (had bool, err error) {
	lo, err := Get(c, "lo")
	if err != nil || lo.Alias != mark {
		return false, err
	}
	return true, set(c, "lo", change{attrs: func(ae *netlink.AttributeEncoder) { ae.Bytes(unix.IFLA_IFALIAS, nil) }})
}

// SetMaster makes the link a port of the bridge with that index, or of none if
// it is 0. A port has no IPv6 link-local address: its packets are the bridge's,
// and an address would only cost the kernel its detection of duplicates.
func SetMaster(c *rtnl.Conn, name string, master int) error {
	plug := func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.IFLA_MASTER, uint32(master)) }
	if master == 0 {
		return set(c, name, change{attrs: plug})
	}
	err := set(c, name, change{attrs: func(ae *netlink.AttributeEncoder) {
		plug(ae)
		ae.Nested(unix.IFLA_AF_SPEC, noLinkLocal)
	}})
	if errors.Is(err, unix.EAFNOSUPPORT) { // a kernel without IPv6
		return set(c, name, change{attrs: plug})
	}
	return err
}

// Attributes of linux/if_link.h that an interface's IPv6 side has.
const (
	inet6AddrGenMode = 8 // IFLA_INET6_ADDR_GEN_MODE
	addrGenNone      = 1 // IN6_ADDR_GEN_MODE_NONE
)

func noLinkLocal(families *netlink.AttributeEncoder) error {
	families.Nested(unix.AF_INET6, func(ae *netlink.AttributeEncoder) error {
		ae.Uint8(inet6AddrGenMode, addrGenNone)
		return nil
	})
	return nil
}

// passReserved is a port's group_fwd_mask (bridge(8)) with a bit for each of the
// reserved group addresses 01:80:c2:00:00:00 to 0f (IEEE 802.1Q, table 8-1), except
// 01: the kernel drops MAC pause frames and takes no bit for them.
const passReserved uint16 = 0xffff &^ (1 << 1)

// SetPort sets up a link of ours that is a port of a bridge already, so that
//
//   - the bridge sends frames back through the port that they came by. A container
//     that goes to a published port of its own needs it on hosts where bridged packets
//     pass through iptables (br_netfilter): there, the bridge itself takes the
//     translated packet back;
//   - frames to reserved group addresses (LLDP's, LACP's, 802.1X's ...) take the way of
//     all others. By default the kernel gives them to the stack of the port itself
//     (br_handle_frame, RX_HANDLER_PASS), where no rule for bridges sees them: a
//     container would speak to the host past its port's policy, and teach the bridge any
//     MAC address. This holds without any firewall.
func SetPort(c *rtnl.Conn, name string) error {
	return c.Change(rtnl.Request{Type: unix.RTM_NEWLINK, Header: header(0, 0, 0), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
		ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_SLAVE_KIND, string(desired.LinkBridge))
			info.Nested(unix.IFLA_INFO_SLAVE_DATA, func(port *netlink.AttributeEncoder) error {
				port.Uint8(unix.IFLA_BRPORT_MODE, 1)
				port.Uint16(unix.IFLA_BRPORT_GROUP_FWD_MASK, passReserved)
				return nil
			})
			return nil
		})
	}})
}

// IsPort tells whether a port of a bridge is set up as SetPort does it.
func (i Info) IsPort() bool { return i.Hairpin && i.Passes == passReserved }

// SetUp brings the link up.
func SetUp(c *rtnl.Conn, name string) error {
	return set(c, name, change{flags: unix.IFF_UP, mask: unix.IFF_UP})
}

// Delete removes the link, and with it the other end of a veth pair; the
// kernel takes about 20 ms for it. A link that is gone or not ours is left
// alone.
func Delete(c *rtnl.Conn, instance string, row desired.Link) error {
	return ifOurs(c, instance, row, func() error {
		return remove(c, row.Name)
	})
}

// remove removes the link, whosever it is.
func remove(c *rtnl.Conn, name string) error {
	return gone(c.Change(rtnl.Request{Type: unix.RTM_DELLINK, Header: header(0, 0, 0), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
	}}))
}

// Retire takes a veth's end down, so that nothing passes it any more, and marks
// it so that it is not taken for a leftover until it dies together with the
// namespace of its other end. It costs one message where Delete costs 20 ms. The
// kernel takes it off its bridge when it dies: to do so here would wait for all
// of the kernel's readers once more, and longer the more ports the bridge has.
func Retire(c *rtnl.Conn, instance string, row desired.Link) error {
	return ifOurs(c, instance, row, func() error {
		return gone(set(c, row.Name, change{mask: unix.IFF_UP, attrs: func(ae *netlink.AttributeEncoder) {
			ae.Bytes(unix.IFLA_IFALIAS, []byte(retiredMark(instance)))
		}}))
	})
}

func ifOurs(c *rtnl.Conn, instance string, row desired.Link, f func() error) error {
	have, err := Get(c, row.Name)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	unfinished := have.Name == Unfinished(instance, row.Namespace)
	if _, ours := Owner(instance, have); !ours && !unfinished && !halfMade(have, row) {
		return nil
	}
	return f()
}

// gone makes removal of what is missing a success.
func gone(err error) error {
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// rtnlNew is a request for a new link, which fails if it is there.
func rtnlNew(attrs func(*netlink.AttributeEncoder)) rtnl.Request {
	return rtnl.Request{Type: unix.RTM_NEWLINK, Flags: netlink.Create | netlink.Excl, Header: header(0, 0, 0), Attrs: attrs}
}

// change is what one RTM_SETLINK message alters.
type change struct {
	flags, mask uint32
	attrs       func(*netlink.AttributeEncoder)
}

func set(c *rtnl.Conn, name string, ch change) error {
	return c.Change(rtnl.Request{Type: unix.RTM_SETLINK, Header: header(0, ch.flags, ch.mask), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
		if ch.attrs != nil {
			ch.attrs(ae)
		}
	}})
}

// Change alters the link with an index by one RTM_SETLINK message: of its flags those in
// mask, and what attrs adds.
func Change(c *rtnl.Conn, index int, flags, mask uint32, attrs func(*netlink.AttributeEncoder)) error {
	return c.Change(rtnl.Request{Type: unix.RTM_SETLINK, Header: header(index, flags, mask), Attrs: attrs})
}

// header is a struct ifinfomsg. Index 0 leaves it to IFLA_IFNAME which link is
// meant.
func header(index int, flags, mask uint32) []byte {
	b := make([]byte, headerLen)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], mask)
	return b
}

// Parse reads a message about a link, without its netlink header.
func Parse(msg []byte) (Info, error) { return parse(msg) }

func parse(msg []byte) (Info, error) {
	i := Info{Space: sameSpace}
	err := rtnl.Attributes(msg, headerLen, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			i.Name = ad.String()
		case unix.IFLA_IFALIAS:
			i.Alias = ad.String()
		case unix.IFLA_ADDRESS:
			i.MAC = net.HardwareAddr(ad.Bytes()).String()
		case unix.IFLA_MTU:
			i.MTU = int(ad.Uint32())
		case unix.IFLA_GSO_MAX_SIZE, unix.IFLA_GRO_MAX_SIZE, unix.IFLA_GSO_IPV4_MAX_SIZE, unix.IFLA_GRO_IPV4_MAX_SIZE, unix.IFLA_TSO_MAX_SIZE:
			i.Packets.read(ad)
		case unix.IFLA_GROUP:
			i.Group = ad.Uint32()
		case unix.IFLA_MASTER:
			i.Master = int(ad.Uint32())
		case unix.IFLA_LINK:
			i.PeerIndex = int(ad.Uint32())
		case iflaLinkNetNSID:
			i.Space = int(ad.Int32())
		case unix.IFLA_LINKINFO:
			ad.Nested(i.kind)
		}
	})
	if err != nil {
		return Info{}, err
	}
	i.Index = int(int32(binary.NativeEndian.Uint32(msg[4:])))
	i.Up = binary.NativeEndian.Uint32(msg[8:])&unix.IFF_UP != 0
	return i, nil
}

// kind reads what is particular to the type of link, and to its master's.
func (i *Info) kind(ad *netlink.AttributeDecoder) error {
	bridged := false
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_INFO_KIND:
			i.Type = ad.String()
		case unix.IFLA_INFO_DATA: // comes after the kind
			switch desired.LinkType(i.Type) {
			case desired.LinkVXLAN:
				ad.Nested(i.carried)
			case desired.LinkTUN:
			default:
				ad.Nested(i.hung)
			}
		case unix.IFLA_INFO_SLAVE_KIND: // comes before the data
			bridged = ad.String() == string(desired.LinkBridge)
		case unix.IFLA_INFO_SLAVE_DATA:
			if bridged {
				ad.Nested(i.port)
			}
		}
	}
	return ad.Err()
}

// port reads what a bridge knows of its port.
func (i *Info) port(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_BRPORT_MODE:
			i.Hairpin = ad.Uint8() != 0
		case unix.IFLA_BRPORT_GROUP_FWD_MASK:
			i.Passes = ad.Uint16()
		}
	}
	return ad.Err()
}
