package kernel_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/link"
)

func closeFile(f *os.File) error { return f.Close() }

// brokenFirewall fails as a whole.
type brokenFirewall struct {
	noFirewall
	err error
}

func (f brokenFirewall) Apply(context.Context, []desired.Delta) error { return f.err }
func (f brokenFirewall) Resync(context.Context, []desired.Row) (desired.Report, error) {
	return desired.Report{}, f.err
}
func (f brokenFirewall) Check(context.Context, []desired.Row) (desired.Report, error) {
	return desired.Report{}, f.err
}

// TestDrift lets somebody spoil things by hand: Check tells, Resync mends, and
// the endpoints reach one another again.
func TestDrift(t *testing.T) {
	bridge, port, space := kerneltest.Bridge, kerneltest.Port(0), kerneltest.Space(0)
	for _, c := range []struct {
		namespace, command string
		want               string // in the drift
	}{
		{"", "ip link del " + bridge, "link host br-test type bridge mac 02:42:00:00:00:01 mtu 1400: missing"},
		{"", "ip link del " + port, "link host vethtest0"},
		{"", "ip link set " + bridge + " down", "is down"},
		{"", "ip link set " + bridge + " mtu 1200", "mtu 1200 instead of 1400"},
		{"", "ip link set " + bridge + " address 02:00:00:00:00:01", "mac 02:00:00:00:00:01 instead of 02:42:00:00:00:01"},
		{"", "ip link set " + port + " nomaster", "is not a port of br-test"},
		{"", "ip link set " + port + " group 0", "group 0x0 instead of 0x6c73"},
		{"", "ip link set " + port + " down", "is down"},
		{"", "ip addr flush dev " + bridge, "addr host br-test 10.9.0.1/16: missing"},
		{"", "echo 1 > /proc/sys/net/ipv6/conf/" + bridge + "/accept_ra", "accept_ra = 0: is 1"},
		{"", "echo 0 > /proc/sys/net/ipv6/conf/" + port + "/disable_ipv6", "disable_ipv6 = 1: is 0"},
		{"", "ip link set " + port + " type bridge_slave group_fwd_mask 0", "group_fwd_mask 0x0 instead of 0xfffd"},
		{"", "tc qdisc del dev " + bridge + " clsact", "fence br-test localhost: missing"},
		{"", "tc filter del dev " + bridge + " ingress", "fence br-test localhost: missing"},
		{"", "echo 0 > /proc/sys/net/ipv4/conf/" + bridge + "/route_localnet", "fence br-test localhost: route_localnet is 0"},
		{"", "ip link add stray type bridge && ip link set stray alias linkspan:" + instance + ":network/gone", "link host stray type bridge: left over"},
		{"", "ip link add halfmade group 27763 type veth peer name otherhalf", "link host halfmade type veth group 0x6c73: left over"},
		{"", "ip addr add 10.66.0.1/24 dev " + bridge + " proto 0x6c || ip addr flush dev " + bridge, "addr host br-test"},
		{"", "ip route add 10.67.0.0/24 dev " + bridge + " proto 0x6c", "route host 10.67.0.0/24 dev br-test: left over"},
		{"", "ip rule del iif " + bridge, "rule iif br-test fwmark 0x4000000/0x4000000 local ipv4=true ipv6=true: missing"},
		{"", "ip -6 rule del iif " + bridge, "rule iif br-test fwmark 0x4000000/0x4000000 local ipv4=true ipv6=true: missing"},
		{"", "ip route flush table 27763", "ipv4=true ipv6=true: missing"},
		{"", "ip -6 route flush table 27763", "ipv4=true ipv6=true: missing"},
		{"", "ip rule add iif other fwmark 0x4000000/0x4000000 lookup 27763 prio 108 proto 0x6c", "rule iif other fwmark 0x4000000/0x4000000 local ipv4=true ipv6=false: left over"},
		{"", "echo linkspan:" + instance + " > 'NETNS/husk' && chmod 100 'NETNS/husk'", "namespace husk: an empty file is left over"},
		{space, "ip link set eth0 down", "eth0 is down"},
		{space, "ip link set eth0 down && ip link set eth0 name eth7", "eth7 is down"},
		{space, "ip link set eth0 down && ip link set eth0 name eth7 && ip link set eth7 up && ip link add eth0 type bridge", "route space0 0.0.0.0/0"},
		{space, "ip link set eth0 down && ip link set eth0 name eth7 && ip link set eth7 mtu 1000 up", "eth7 mtu 1000 instead of 1400"},
		{space, "ip link del eth0 && ip link add eth0 type bridge", "link host vethtest0"},
		{space, "ip link add name taken type bridge && ip link add eth1 type bridge && ip link del eth0 && ip link set taken name eth0", "link host vethtest0"},
		{space, "ip link del eth0", "link host vethtest0"},
		{space, "ip link set eth0 mtu 1000", "eth0 mtu 1000 instead of 1400"},
		{space, "ip link set eth0 address 02:00:00:00:00:05", "eth0 mac 02:00:00:00:00:05 instead of"},
		{space, "ip addr flush dev eth0", "addr space0 eth0 10.9.1.1/16: missing"},
		{space, "ip route del default", "route space0 0.0.0.0/0"},
		{space, "ip route replace default via 10.9.0.9", "route space0 0.0.0.0/0"},
		{space, "ip -6 route del default", "route space0 ::/0"},
		{space, "ip neigh del 10.9.0.1 dev eth0", "neigh space0 eth0 10.9.0.1"},
		{"", "ip link del " + kerneltest.Parent, "link space0 lan0 type macvlan mac 02:42:00:01:00:01 parent dm-test mode bridge: missing"},
		{space, "ip link del lan0", "lan0 type macvlan mac 02:42:00:01:00:01 parent dm-test mode bridge: missing"},
		{space, "ip link set lan0 down", "mode bridge: is down"},
		{space, "ip link set lan0 type macvlan mode vepa", "is parent dm-test mode vepa instead of parent dm-test mode bridge"},
		{space, "ip link set lan0 address 02:00:00:00:00:05", "mac 02:00:00:00:00:05 instead of"},
		{space, "ip link set lan0 down; ip link set lan0 name lan7; ip link set lan7 address 02:00:00:00:00:05 up", "mac 02:00:00:00:00:05 instead of"},
		{space, "ip link del lan0; ip link add lan0 type bridge", "link space0 lan0"},
		{space, "ip link set lan0 alias mine", "alias \"mine\" instead of"},
		{space, "ip link set lan0 alias ''", "alias \"\" instead of"},
		{space, "ip addr flush dev lan0", "addr space0 lan0 10.8.0.1/16: missing"},
		{space, "ip link add " + link.Unfinished(instance, space) + " type bridge", "left over"},
		{kerneltest.Overlay, "nft flush ruleset", "balance ov-test 10.7.9.1 over [10.7.9.9] salt 192.0.2.1: table inet linkspan-balance: missing"},
		{kerneltest.Overlay, "nft 'delete element inet linkspan-balance few_vips4 { 10.7.9.1 . 3 : 10.7.9.9 }'", "balance ov-test hairpin of 10.7.1.1: table inet linkspan-balance: set few_vips4: 10.7.9.1 . 3 : 10.7.9.9: missing"},
		{space, "ip link set lo down", "namespace space0: lo is down"},
		{space, "ip link set lo alias mine", "namespace space0: is not marked as ours"},
		{"", "umount 'NETNS/" + space + "' && rm 'NETNS/" + space + "'", "namespace space0: missing"},
	} {
		t.Run(c.namespace+" "+c.command, func(t *testing.T) {
			l := newLab(t)
			want := kerneltest.Attached(t, 2)
			l.apply(t, desired.State{}, want)
			l.sh(t, c.namespace, strings.ReplaceAll(c.command, "NETNS", l.host.Dir))
			before := l.Writes()
			told, err := l.Check(t.Context(), want)
			if err != nil || l.Writes() != before || !strings.Contains(strings.Join(told.Drift, "\n"), c.want) {
				t.Errorf("check: %d writes, %v, drift %q", l.Writes()-before, err, told.Drift)
			}
			mended, err := l.Resync(t.Context(), want)
			if err != nil || mended.Writes == 0 || !strings.Contains(strings.Join(mended.Drift, "\n"), c.want) {
				t.Errorf("resync: %+v, %v", mended, err)
			}
			if r, err := l.Resync(t.Context(), want); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
				t.Errorf("second resync: %+v, %v", r, err)
			}
			for _, address := range []string{"10.9.0.1", "10.9.1.2", "fd00:9::101", "10.8.0.2"} {
				l.sh(t, space, "ping -c1 -w5 "+address)
			}
		})
	}
}

// TestRestart lets a new daemon find what an old one made.
func TestRestart(t *testing.T) {
	old := newLab(t)
	want := kerneltest.Attached(t, 3)
	old.apply(t, desired.State{}, want)
	l := labOn(t, old.host, noFirewall{})
	if r, err := l.Resync(t.Context(), want); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
		t.Errorf("resync after a restart: %+v, %v", r, err)
	}
	if _, err := l.Resync(t.Context(), desired.State{}); err != nil {
		t.Error(err)
	}
	names, err := l.Netns().List()
	if err != nil || len(names) != 0 || l.exists(t, kerneltest.Bridge) || l.exists(t, kerneltest.Port(0)) {
		t.Errorf("left over: %v, %v", names, err)
	}
}

// dial connects from within a namespace.
func (l lab) dial(t *testing.T, namespace, network, address string) (conn net.Conn) {
	t.Helper()
	err := l.Netns().Do(t.Context(), namespace, func() (err error) {
		conn, err = net.Dial(network, address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestForgetsConnections lets two addresses talk and takes one away.
func TestForgetsConnections(t *testing.T) {
	l := newLab(t)
	want := kerneltest.Attached(t, 3)
	l.apply(t, desired.State{}, want)
	// A rule that looks at connections makes the kernel track them.
	l.sh(t, "", "nft 'add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c ct state new counter'")
	for i, address := range []string{"10.9.0.1", "fd00:9::1", "10.9.0.1"} {
		conn := l.dial(t, kerneltest.Space([]int{0, 0, 2}[i]), "udp", net.JoinHostPort(address, "9"))
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	flows := func() string { return l.sh(t, "", "conntrack -L 2>/dev/null; conntrack -L -f ipv6 2>/dev/null") }
	eventually(t, "the packets have arrived", func() bool {
		got := flows()
		return strings.Contains(got, "src=10.9.1.1 ") && strings.Contains(got, "src=fd00:9::100 ")
	})
	next := kerneltest.Detach(t, want, 0)
	l.apply(t, want, next)
	eventually(t, "the connections of the address are gone", func() bool {
		got := flows()
		return !strings.Contains(got, "10.9.1.1 ") && !strings.Contains(got, "fd00:9::100 ")
	})
	if got := flows(); !strings.Contains(got, "src=10.9.1.3 ") {
		t.Errorf("a connection of somebody else is gone: %s", got)
	}
}

func TestObserve(t *testing.T) {
	l := newLab(t)
	l.apply(t, desired.State{}, kerneltest.Attached(t, 1))
	l.sh(t, "", `ip link add lan type bridge && ip link set lan address 02:00:00:00:aa:01 && ip link add spare type bridge && ip link set spare address 02:00:00:00:aa:02 && ip addr add 192.168.5.4/24 dev lan && ip addr add fd55::4/64 dev lan nodad && ip link set lan up &&
		ip link add lanport type veth peer name lanpeer && ip link set lanport master lan up && ip link set lanpeer up &&
		ip route add default via 192.168.5.1 && ip route add 10.60.0.0/16 via 192.168.5.1 && ip route add 10.61.0.0/16 dev lan && echo 1 > /proc/sys/net/ipv4/ip_forward`)
	h, err := l.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(h.OnLink); got != "[10.61.0.0/16 192.168.5.0/24 fd55::/64]" {
		t.Errorf("on link: %s", got)
	}
	if got := fmt.Sprint(h.Addrs, h.MACs); got != "[192.168.5.4 fd55::4] [02:00:00:00:aa:01 02:00:00:00:aa:02]" {
		t.Errorf("its own names: %s", got)
	}
	if h.ForwardingOff4 || !h.ForwardingOff6 || h.Instance != instance || len(h.BootID) != 36 {
		t.Errorf("observed %+v", h)
	}
}

// TestListenInside opens sockets in a namespace and talks to them from the host.
func TestListenInside(t *testing.T) {
	l := newLab(t)
	l.apply(t, desired.State{}, kerneltest.Attached(t, 1))
	server, err := l.Netns().Listen(t.Context(), kerneltest.Space(0), "tcp4", netip.MustParseAddrPort("10.9.1.1:80"))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	packets, err := l.Netns().ListenPacket(t.Context(), kerneltest.Space(0), "udp4", netip.MustParseAddrPort("127.0.0.1:53"))
	if err != nil {
		t.Fatal(err)
	}
	packets.Close()
	go func() {
		if conn, err := server.Accept(); err == nil {
			conn.Write([]byte("hello"))
			conn.Close()
		}
	}()
	client := l.dial(t, "", "tcp4", "10.9.1.1:80")
	defer client.Close()
	got := make([]byte, 5)
	if _, err := client.Read(got); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := l.Netns().Listen(t.Context(), "nowhere", "tcp4", netip.AddrPort{}); err == nil {
		t.Error("listening in a namespace that is not there succeeded")
	}
}
