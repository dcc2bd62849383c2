package link

import (
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// UsualPackets is what the kernel lets packets grow to by itself, in bytes
// (GSO_LEGACY_MAX_SIZE).
const UsualPackets = 65536

// Packets is how large packets may be on a link while the kernel works on them,
// in bytes. What the kernel does not tell is 0: IPv4's own sizes before Linux
// 6.3, Limit before 5.19. Those for IPv6 are at the same time those for all else.
type Packets struct {
	GSO4, GSO6 int // to be cut up when they leave
	GRO4, GRO6 int // put together of those that arrive
	Limit      int // more than this the link does not take, of either family
}

// Large4 and Large6 tell whether the kernel lets packets of the family be larger
// than usual, if this link does.
func (p Packets) Large4() bool { return p.GSO4 != 0 && p.Limit > UsualPackets }

// Large6 is Large4 of IPv6.
func (p Packets) Large6() bool { return p.Limit > UsualPackets }

// read takes over one of the attributes that write writes, or the limit.
func (p *Packets) read(ad *netlink.AttributeDecoder) {
	size := int(ad.Uint32())
	switch ad.Type() {
	case unix.IFLA_GSO_MAX_SIZE:
		p.GSO6 = size
	case unix.IFLA_GRO_MAX_SIZE:
		p.GRO6 = size
	case unix.IFLA_GSO_IPV4_MAX_SIZE:
		p.GSO4 = size
	case unix.IFLA_GRO_IPV4_MAX_SIZE:
		p.GRO4 = size
	case unix.IFLA_TSO_MAX_SIZE:
		p.Limit = size
	}
}

// write asks for the sizes that are not 0. Those of IPv6 come first, because with
// them the kernel sets those of IPv4 if they are not larger than usual.
func (p Packets) write(ae *netlink.AttributeEncoder) {
	for _, a := range []struct {
		attribute uint16
		size      int
	}{
		{unix.IFLA_GSO_MAX_SIZE, p.GSO6}, {unix.IFLA_GRO_MAX_SIZE, p.GRO6},
		{unix.IFLA_GSO_IPV4_MAX_SIZE, p.GSO4}, {unix.IFLA_GRO_IPV4_MAX_SIZE, p.GRO4},
	} {
		if a.size != 0 {
			ae.Uint32(a.attribute, uint32(a.size))
		}
	}
}

// wanted are the sizes of a link that is to have a row's.
func wanted(row desired.PacketSizes) Packets {
	return Packets{GSO4: row.IPv4, GRO4: row.IPv4, GSO6: row.IPv6, GRO6: row.IPv6}
}

// differences compares with what is wanted. The default is wanted only so far
// that a larger size goes back to it. What the kernel does not tell is not
// compared, and nothing is wanted beyond the limit: a bridge has that of the port
// with the least.
func (p Packets) differences(row desired.PacketSizes) []difference {
	want := p
	for _, s := range []struct {
		want *int
		size int
	}{{&want.GSO4, row.IPv4}, {&want.GRO4, row.IPv4}, {&want.GSO6, row.IPv6}, {&want.GRO6, row.IPv6}} {
		switch {
		case *s.want == 0: // not told
		case s.size != 0 && p.Limit != 0:
			*s.want = min(s.size, p.Limit)
		case s.size != 0:
			*s.want = s.size
		default:
			*s.want = min(*s.want, UsualPackets)
		}
	}
	if want == p {
		return nil
	}
	return []difference{{
		fmt.Sprintf("packet sizes (%s) instead of (%s)", p, want), // together, since one sets the other
		want.write,
	}}
}

// String is the sizes as they are told to people.
func (p Packets) String() string {
	return fmt.Sprintf("gso %d, gso_ipv4 %d, gro %d, gro_ipv4 %d", p.GSO6, p.GSO4, p.GRO6, p.GRO4)
}

// Enlarge lets a bridge of the instance take packets of the sizes of a port that
// was plugged in, as far as its other ports allow. A bridge cannot be told before.
// bridge is what it was like without the port; if nothing is to be done, nothing
// is asked of the kernel.
func Enlarge(c *rtnl.Conn, instance string, bridge Info, sizes desired.PacketSizes) error {
	if _, ours := Owner(instance, bridge); !ours || sizes == (desired.PacketSizes{}) {
		return nil
	}
	unlimited := bridge.Packets
	unlimited.Limit = 0
	if len(unlimited.differences(sizes)) == 0 {
		return nil
	}
	now, err := ByIndex(c, bridge.Index)
	if err != nil {
		return err
	}
	return apply(c, now.Name, now.Packets.differences(sizes))
}

// LoopbackDrift says, in words, what is not as the row wants; empty if nothing is.
// A size that is not the kernel's default is somebody's, or ours from before.
func (p Packets) LoopbackDrift(row desired.Loopback) string {
	if p.GSO4 != UsualPackets || row.Packets <= UsualPackets {
		return ""
	}
	return fmt.Sprintf("gso_ipv4 %d, the kernel's default", p.GSO4)
}

// SetLoopback lets the loopback interface called name take packets as wanted.
func SetLoopback(c *rtnl.Conn, name string, row desired.Loopback) error {
	return set(c, name, change{attrs: Packets{GSO4: row.Packets}.write})
}
