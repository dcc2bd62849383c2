package lab

import (
	"context"
	"fmt"
	"net/netip"
)

// The addressing plan: documentation ranges (RFC 5737, RFC 3849), which exist nowhere else, so that not even a packet
// that escaped would reach anybody.
const (
	worldAddr4   = "198.51.100.1"
	worldAddr6   = "2001:db8:1::1"
	beyondAddr4  = "203.0.113.1"
	beyondAddr6  = "2001:db8:ffff::1"
	lanBits4     = 24
	lanBits6     = 64
	uplink       = "eth0" // what every machine calls its interface on the LAN
	hostNumber   = 10     // h1 is .11
	worldName    = "world.example.test"
	lanInterface = "lan" // the bridge
)

// hostAddrs are the LAN addresses of engine host i.
func hostAddrs(i int) (v4, v6 netip.Addr) {
	return netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", hostNumber+i)),
		netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%d", hostNumber+i))
}

// buildLAN starts the switch. Multicast snooping is off: without a querier it would start losing neighbour
// solicitations after some minutes.
func (l *Lab) buildLAN(ctx context.Context) error {
	l.lan = &Machine{Name: "lan"}
	if err := l.newMachine(l.lan, map[string]string{"hosts": hostsFile(l.lan), "resolv.conf": ""}); err != nil {
		return err
	}
	return l.lan.ip(ctx,
		"link add "+lanInterface+" type bridge mcast_snooping 0",
		"link set "+lanInterface+" up")
}

// Plug gives a machine one more interface on the LAN, down and without addresses. It replaces one of that name that was
// taken away.
func (l *Lab) Plug(ctx context.Context, m *Machine, name string) error {
	port := "to-" + m.Name + "-" + name
	return l.lan.ip(ctx,
		fmt.Sprintf("link add %s type veth peer name %s netns %d", port, name, m.PID()),
		fmt.Sprintf("link set %s master %s up", port, lanInterface))
}

// plug connects m's eth0 to the switch and gives it its addresses.
func (l *Lab) plug(ctx context.Context, m *Machine) error {
	port := "to-" + m.Name
	b := m.Addr4.As4()
	mac := fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3]) // a machine keeps its card when it boots anew
	err := l.lan.ip(ctx,
		fmt.Sprintf("link add %s type veth peer name %s address %s netns %d", port, uplink, mac, m.PID()),
		fmt.Sprintf("link set %s master %s up", port, lanInterface))
	if err != nil {
		return err
	}
	return m.ip(ctx,
		fmt.Sprintf("address add %s/%d broadcast + dev %s", m.Addr4, lanBits4, uplink),
		fmt.Sprintf("address add %s/%d dev %s nodad", m.Addr6, lanBits6, uplink),
		"link set lo up",
		"link set "+uplink+" up")
}
