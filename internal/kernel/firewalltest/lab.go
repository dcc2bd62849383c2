package firewalltest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
)

// Place is somewhere that frames come from and arrive at: a namespace at the
// other end of a cable to the host.
type Place struct {
	Name   string
	Host   string // the host's end of the cable
	Bridge string // that the host's end is a port of; empty for another machine
	MAC    string
	IP4    string
	IP6    string
	Ours   bool // in our interface group
	Pinned bool
	Mode   desired.PortMode
}

const UplinkMAC = "02:00:00:00:ff:01" // of the host, on every cable to another machine

// OnLink4 is a link-local address that every container was given (--link-local-ip).
const OnLink4 = "169.254.9.9"

// Elsewhere4 and Elsewhere6 are what a1 has on the network of b1.
const Elsewhere4, Elsewhere6 = "10.2.0.77", "fd02::77"

// places are two containers on a network, one without policy and one plugged in
// by hand there, one with NET_ADMIN and one at whose frames nobody looks; two on
// another network, of which one is open to direct routing; two on an internal one;
// two that may not talk to one another, and like ones of either kind on both; two each on
// networks without masquerading, with gateway mode routed and with nat-unprotected; and two
// other machines.
func Places() []Place {
	return []Place{
		{"a1", "va1", "br-a", "02:00:00:00:0a:01", "10.1.0.11", "fd01::11", true, true, ""},
		{"a2", "va2", "br-a", "02:00:00:00:0a:02", "10.1.0.12", "fd01::12", true, true, ""},
		{"dead", "vdead", "br-a", "02:00:00:00:0a:03", "10.1.0.13", "fd01::13", true, false, ""},
		{"manual", "vman", "br-a", "02:00:00:00:0a:04", "10.1.0.14", "fd01::14", false, false, ""},
		{"cap", "vcap", "br-a", "02:00:00:00:0a:05", "10.1.0.15", "fd01::15", true, true, desired.PortCapable},
		{"off", "voff", "br-a", "02:00:00:00:0a:06", "10.1.0.16", "fd01::16", true, true, desired.PortUnchecked},
		{"b1", "vb1", "br-b", "02:00:00:00:0b:01", "10.2.0.11", "fd02::11", true, true, ""},
		{"open", "vopen", "br-b", "02:00:00:00:0b:02", "10.2.0.12", "fd02::12", true, true, ""},
		{"i1", "vi1", "br-i", "02:00:00:00:01:01", "10.3.0.11", "fd03::11", true, true, ""},
		{"i2", "vi2", "br-i", "02:00:00:00:01:02", "10.3.0.12", "fd03::12", true, true, ""},
		{"capi", "vcapi", "br-i", "02:00:00:00:01:03", "10.3.0.13", "fd03::13", true, true, desired.PortCapable},
		{"offi", "voffi", "br-i", "02:00:00:00:01:04", "10.3.0.14", "fd03::14", true, true, desired.PortUnchecked},
		{"offq", "voffq", "br-q", "02:00:00:00:09:03", "10.4.0.13", "fd04::13", true, true, desired.PortUnchecked},
		{"q1", "vq1", "br-q", "02:00:00:00:09:01", "10.4.0.11", "fd04::11", true, true, ""},
		{"q2", "vq2", "br-q", "02:00:00:00:09:02", "10.4.0.12", "fd04::12", true, true, ""},
		{"m1", "vm1", "br-m", "02:00:00:00:0c:01", "10.5.0.11", "fd05::11", true, true, ""},
		{"m2", "vm2", "br-m", "02:00:00:00:0c:02", "10.5.0.12", "fd05::12", true, true, ""},
		{"r1", "vr1", "br-r", "02:00:00:00:0d:01", "10.6.0.11", "fd06::11", true, true, ""},
		{"r2", "vr2", "br-r", "02:00:00:00:0d:02", "10.6.0.12", "fd06::12", true, true, ""},
		{"u1", "vu1", "br-u", "02:00:00:00:0e:01", "10.7.0.11", "fd07::11", true, true, ""},
		{"u2", "vu2", "br-u", "02:00:00:00:0e:02", "10.7.0.12", "fd07::12", true, true, ""},
		{"out", "eth0", "", "02:00:00:00:ff:02", "192.0.2.2", "2001:db8::2", false, false, ""},
		{"far", "eth1", "", "02:00:00:00:ff:03", "198.51.100.2", "2001:db8:1::2", false, false, ""},
	}
}

func (p Place) Group() uint32 {
	if p.Ours {
		return desired.PortGroup
	}
	return 0
}

// GatewayMAC is where the host is reached from the place.
func (p Place) GatewayMAC() string {
	if p.Bridge == "" {
		return UplinkMAC
	}
	return "02:00:00:00:00:" + map[string]string{"br-a": "0a", "br-b": "0b", "br-i": "01", "br-m": "0c", "br-q": "09", "br-r": "0d", "br-u": "0e"}[p.Bridge]
}

// device is what routing sees at the host's end.
func (p Place) Device() string {
	if p.Bridge == "" {
		return p.Host
	}
	return p.Bridge
}

// chosen are the addresses that containers of br-b leave under.
var chosen = map[string]netip.Addr{"br-b4": netip.MustParseAddr("192.0.2.7"), "br-b6": netip.MustParseAddr("2001:db8::7")}

// Rows are the policy of the lab: those of networks, ports, published ports and links; guard
// has nothing forwarded between the two other machines.
func Rows(guard bool) []desired.Row {
	rows := []desired.Row{
		desired.BridgePolicy{Bridge: "br-a", ICC: true},
		desired.BridgePolicy{Bridge: "br-b", ICC: true},
		desired.BridgePolicy{Bridge: "br-i", ICC: true, Internal: true},
		desired.BridgePolicy{Bridge: "br-m", ICC: true},
		desired.BridgePolicy{Bridge: "br-q"},
		desired.BridgePolicy{Bridge: "br-r", ICC: true},
		desired.BridgePolicy{Bridge: "br-u", ICC: true},
		desired.ForwardDrop{IPv4: guard, IPv6: guard},
	}
	for i, bridge := range []string{"br-a", "br-b", "br-q", "br-u"} {
		n := []int{1, 2, 4, 7}[i]
		rows = append(rows,
			desired.Masquerade{Bridge: bridge, Subnet: prefix(fmt.Sprintf("10.%d.0.0/24", n)), Source: chosen[bridge+"4"]},
			desired.Masquerade{Bridge: bridge, Subnet: prefix(fmt.Sprintf("fd0%d::/64", n)), Source: chosen[bridge+"6"]})
	}
	seen := map[string]bool{}
	for _, p := range Places() {
		if p.Pinned {
			rows = append(rows, p.Pin())
		}
		if p.Bridge != "" && !seen[p.Bridge] {
			seen[p.Bridge] = true
			rows = append(rows, desired.Identity{Bridge: p.Bridge, MACs: []string{p.GatewayMAC()},
				Addrs: addrs(gatewayAddr(p.IP4, 24), gatewayAddr(p.IP6, 64), "fe80::1", OwnLinkLocal(p.GatewayMAC()))})
		}
	}
	rows = append(rows, desired.Identity{MACs: []string{UplinkMAC}, Addrs: addrs("192.0.2.1", "2001:db8::1", "198.51.100.1", "2001:db8:1::1")})
	rows = append(rows, desired.Elsewhere{Port: PlaceOf("a1").Host, Addrs: addrs(Elsewhere4, Elsewhere6)})
	return append(append(rows, portRows()...), linkRows()...)
}

// Pin is the policy of the place's port.
func (p Place) Pin() desired.PortSecurity {
	r := desired.PortSecurity{Port: p.Host, Bridge: p.Bridge, MAC: p.MAC, Addrs: addrs(p.IP4, p.IP6, OnLink4, OwnLinkLocal(p.MAC)), Mode: p.Mode}
	if p.Mode != desired.PortPinned {
		for i, a := range []string{p.IP4, p.IP6} {
			r.Subnets = append(r.Subnets, netip.PrefixFrom(netip.MustParseAddr(a), []int{24, 64}[i]).Masked())
		}
	}
	return r
}

// OwnLinkLocal is the address that a kernel makes of a MAC address (RFC 4291,
// appendix A).
func OwnLinkLocal(mac string) string {
	m := frames.MAC(mac)
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]}).String()
}

// Lab is the places for real.
type Lab struct {
	t      *testing.T
	Host   *namespaces.Namespace
	Spaces map[string]*namespaces.Namespace // by place
	sinks  map[string]*sink                 // by place
	taps   map[string]int                   // packet sockets, by place
}

// NewLab makes the places, with or without bridge-nf-call-iptables, and no rules.
func NewLab(t *testing.T, bridgeNetfilter bool) *Lab {
	l := &Lab{t: t, Host: namespaces.New(t), Spaces: map[string]*namespaces.Namespace{}, sinks: map[string]*sink{}, taps: map[string]int{}}
	l.Host.Sysctl("net/ipv4/ip_forward", "1")
	l.Host.Sysctl("net/ipv6/conf/all/forwarding", "1")
	// Everywhere, so that nothing but the firewall guards localhost.
	l.Host.Sysctl("net/ipv4/conf/all/route_localnet", "1")
	call := "0"
	if bridgeNetfilter {
		call = "1"
	}
	l.Host.Sysctl("net/bridge/bridge-nf-call-iptables", call)
	l.Host.Sysctl("net/bridge/bridge-nf-call-ip6tables", call)
	bridges := map[string]bool{}
	for _, p := range Places() {
		if p.Bridge != "" && !bridges[p.Bridge] {
			bridges[p.Bridge] = true
			l.Host.Bridge(p.Bridge, p.GatewayMAC(), gateway(p.IP4, 24), gateway(p.IP6, 64))
		}
		l.add(p)
	}
	l.tap("host", l.Host, "br-a")
	return l
}

// gateway is the first address of the subnet.
func gateway(ip string, bits int) string {
	return netip.PrefixFrom(netip.MustParseAddr(gatewayAddr(ip, bits)), bits).String()
}

func gatewayAddr(ip string, bits int) string {
	return netip.PrefixFrom(netip.MustParseAddr(ip), bits).Masked().Addr().Next().String()
}

func (l *Lab) add(p Place) {
	n := namespaces.New(l.t)
	n.Sysctl("net/ipv6/conf/all/disable_ipv6", "1") // it would only add noise
	namespaces.Cable(namespaces.End{In: l.Host, Name: p.Host, MAC: UplinkMAC}, namespaces.End{In: n, Name: "eth0", MAC: p.MAC})
	n.Up("eth0")
	l.Spaces[p.Name] = n
	if p.Bridge != "" {
		l.Host.Enslave(p.Host, p.Bridge, p.Group())
		if p.Ours {
			l.Host.Port(p.Host)
		}
	} else {
		l.Host.Address(p.Host, gateway(p.IP4, 24), gateway(p.IP6, 64))
	}
	l.Host.Neighbour(p.Device(), p.IP4, p.MAC)
	l.Host.Neighbour(p.Device(), p.IP6, p.MAC)
	l.tap(p.Name, n, "eth0")
}

// tap opens a packet socket on an interface and collects what arrives there.
func (l *Lab) tap(name string, n *namespaces.Namespace, device string) {
	l.t.Helper()
	link, err := n.Link.LinkByName(device)
	n.Must(err)
	var fd int
	n.Do(func() (err error) {
		all := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)))
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000}); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: link.Attrs().Index})
	})
	s := &sink{seen: map[int][]byte{}, done: make(chan struct{})}
	l.sinks[name], l.taps[name] = s, fd
	stop := make(chan struct{})
	go s.collect(fd, stop)
	l.t.Cleanup(func() {
		close(stop)
		<-s.done
		unix.Close(fd)
	})
}

// Send sends a frame from a place, or from the host ("host").
func (l *Lab) Send(from string, frame []byte) {
	l.t.Helper()
	if _, err := unix.Write(l.taps[from], frame); err != nil {
		l.t.Fatalf("send from %s: %v", from, err)
	}
}

// Arrives waits until a frame with the mark was seen at a place.
func (l *Lab) Arrives(id int, at string) []byte {
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		if frame := l.Seen(id, at); frame != nil {
			return frame
		}
		time.Sleep(time.Millisecond) // poll
	}
	return nil
}

// Seen is the frame with the mark that was seen at a place; nil if none was.
func (l *Lab) Seen(id int, at string) []byte { return l.sinks[at].frame(id) }

// sink remembers frames by their mark.
type sink struct {
	done chan struct{}
	mu   sync.Mutex
	seen map[int][]byte
}

func (s *sink) collect(fd int, stop <-chan struct{}) {
	defer close(s.done)
	b := make([]byte, 2048)
	for {
		select {
		case <-stop:
			return
		default:
		}
		n, from, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			continue // nothing for a while
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if quotes(b[:n]) {
			continue
		}
		start := frames.Mark(0)[:4]
		if i := bytes.Index(b[:n], start); i >= 0 && i+8 <= n {
			s.mu.Lock()
			s.seen[int(binary.BigEndian.Uint32(b[i+4:]))] = bytes.Clone(b[:n])
			s.mu.Unlock()
		}
	}
}

// quotes tells whether a frame is the host's own word about another one, which it
// holds with its mark: the ICMPv6 redirect that goes ahead of a frame routed back
// out of the bridge it came from (RFC 4861, section 8.2).
func quotes(frame []byte) bool {
	const next, kind, redirect = 14 + 6, 14 + 40, 137
	return len(frame) > kind && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IPV6 &&
		bytes.HasPrefix(frame[6:], frames.MAC("02:00:00:00:00:00")[:5]) && // of a bridge
		frame[next] == unix.IPPROTO_ICMPV6 && frame[kind] == redirect
}

func (s *sink) frame(id int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[id]
}

// NewLearnedLab is a lab without rules, with bridges that have fe80::1 and know who is where,
// as if everybody had spoken before.
func NewLearnedLab(t *testing.T, bridgeNetfilter bool) *Lab {
	l := NewLab(t, bridgeNetfilter)
	for _, p := range Places() {
		if p.Bridge == "" {
			continue
		}
		link, err := l.Host.Link.LinkByName(p.Host)
		l.Host.Must(err)
		l.Host.Must(l.Host.Link.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER, State: netlink.NUD_NOARP, HardwareAddr: frames.MAC(p.MAC),
		}))
	}
	for _, bridge := range []string{"br-a", "br-b", "br-i", "br-m", "br-q", "br-r", "br-u"} {
		l.Host.Address(bridge, "fe80::1/64")
	}
	l.Host.Do(func() error { // this namespace may have its creator's
		all, err := filepath.Glob("/proc/sys/net/ipv4/conf/*/rp_filter")
		for _, path := range all {
			if err == nil {
				err = os.WriteFile(path, []byte("0"), 0o644)
			}
		}
		return err
	})
	return l
}
