package kernel_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
)

// guarded is a lab in which everything that the kernel suspects is repaired at once.
type guarded struct {
	portLab
	want    atomic.Pointer[desired.State]
	mu      sync.Mutex
	lost    []string // lines of drift, as they were repaired
	who     []string
	looks   int // repairs that found something or not
	written int // and wrote
}

func newGuarded(t *testing.T, want desired.State) *guarded {
	t.Helper()
	g := &guarded{portLab: newPortLab(t)}
	g.apply(t, desired.State{}, want)
	g.want.Store(&want)
	ctx, cancel := context.WithCancel(t.Context())
	suspicions, err := g.Watch(ctx, func() desired.State { return *g.want.Load() })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for list := range suspicions {
			g.repair(t, ctx, list)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return g
}

func (g *guarded) repair(t *testing.T, ctx context.Context, list []desired.Suspicion) {
	var owners []desired.Owner
	g.mu.Lock()
	for _, s := range list {
		if g.isWanted(s.Owner) {
			owners = append(owners, s.Owner)
		}
		if s.Who != "" {
			g.who = append(g.who, s.Who)
		}
	}
	g.mu.Unlock()
	r, err := g.Repair(ctx, *g.want.Load(), owners)
	for tries := 0; err != nil && ctx.Err() == nil && tries < 50; tries++ { // as the engine does
		owners = slices.DeleteFunc(owners, func(o desired.Owner) bool { return !g.isWanted(o) })
		time.Sleep(time.Millisecond) // poll
		var more desired.Report
		more, err = g.Repair(ctx, *g.want.Load(), owners)
		r.Drift, r.Writes = append(r.Drift, more.Drift...), r.Writes+more.Writes
	}
	if err != nil && ctx.Err() == nil {
		t.Errorf("repair of %v: %v", owners, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looks++
	if r.Writes > 0 {
		g.written++
	}
	g.lost = append(g.lost, r.Drift...)
}

// isWanted tells whether anything is wanted for an owner.
func (g *guarded) isWanted(owner desired.Owner) bool {
	for range g.want.Load().Owned(owner) {
		return true
	}
	return owner == desired.Firewall || owner == desired.EverythingOnHost
}

func (g *guarded) seen() (lost, who string, looks, written int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.lost, "\n"), strings.Join(g.who, "\n"), g.looks, g.written
}

// whole waits until nothing differs.
func (g *guarded) whole(t *testing.T, after string) {
	t.Helper()
	var last []string
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) { // poll
		r, err := g.Check(t.Context(), *g.want.Load())
		if err == nil && len(r.Drift) == 0 {
			return
		}
		if last = r.Drift; time.Now().After(deadline) {
			t.Fatalf("after %s still: %q, %v", after, last, err)
		}
	}
}

// settled waits until whatever was told so far has been dealt with: a mark is set, by
// each of the ways by which changes are noticed, and is removed again by a repair.
func (g *guarded) settled(t *testing.T) {
	t.Helper()
	for _, mark := range []string{
		"ip addr del 10.9.0.1/16 dev " + kerneltest.Bridge,
		"nft flush chain inet linkspan early",
		"echo 1 > /proc/sys/net/ipv6/conf/" + kerneltest.Bridge + "/accept_ra",
	} {
		g.sh(t, "", mark+" && :")
		g.whole(t, mark)
	}
}

// policed is two endpoints on a network, with policies.
func policed(t *testing.T) desired.State {
	t.Helper()
	s := kerneltest.Attached(t, 2)
	rows := append(kerneltest.Network(),
		desired.BridgePolicy{Bridge: kerneltest.Bridge, ICC: true},
		desired.Masquerade{Bridge: kerneltest.Bridge, Subnet: netip.MustParsePrefix("10.9.0.0/16")},
		desired.Publish{Protocol: "udp", Host: netip.IPv4Unspecified(), First: 53, Last: 53, To: netip.MustParseAddr("10.9.1.1"), ToFirst: 5353, Bridge: kerneltest.Bridge},
		desired.PortSecurity{Port: kerneltest.Port(0), Bridge: kerneltest.Bridge, MAC: "02:42:00:00:01:01", Addrs: []netip.Addr{netip.MustParseAddr("10.9.1.1"), netip.MustParseAddr("fd00:9::100")}},
		desired.PortSecurity{Port: kerneltest.Port(1), Bridge: kerneltest.Bridge, MAC: "02:42:00:00:01:02", Addrs: []netip.Addr{netip.MustParseAddr("10.9.1.2"), netip.MustParseAddr("fd00:9::101")}},
		desired.Sysctl{Path: "net/ipv4/ip_forward", Value: "1"},
		desired.Sysctl{Path: "net/ipv4/conf/" + kerneltest.Bridge + "/forwarding", Value: "1"},
	)
	return kerneltest.With(t, s, kerneltest.NetworkOwner, rows...)
}

// losses are what others do on a host, and what the log then says was lost.
func losses() map[string]string {
	bridge, port := kerneltest.Bridge, kerneltest.Port(0)
	return map[string]string{
		"nft flush ruleset":                                                                 "table inet linkspan: missing",
		"nft delete table inet linkspan":                                                    "table inet linkspan: missing",
		"nft delete table bridge linkspan":                                                  "table bridge linkspan: missing",
		"nft flush chain inet linkspan forward":                                             "chain forward",
		"nft insert rule inet linkspan forward accept":                                      "chain forward",
		"nft flush set inet linkspan bridges":                                               "set bridges",
		"nft flush set bridge linkspan pinned":                                              "set pinned",
		"nft delete element inet linkspan masq4 { 10.9.0.0/16 }":                            "set masq4",
		"nft 'add chain inet linkspan mine; add set inet linkspan own { type ipv4_addr; }'": "mine",
		"nft delete chain inet linkspan postrouting":                                        "chain postrouting: missing",
		"ip link del " + kerneltest.Parent:                                                  "link space1 lan0 type macvlan",
		"ip link del " + bridge:                                                             "link host br-test",
		"ip link del " + port:                                                               "link host vethtest0",
		"ip link set " + bridge + " down":                                                   "is down",
		"ip link set " + port + " down":                                                     "is down",
		"ip link set " + bridge + " down && ip link set " + bridge + " name other0":         "link host br-test",
		"ip link set " + bridge + " mtu 1200":                                               "mtu 1200 instead of 1400",
		"ip link set " + bridge + " address 02:00:00:00:00:01":                              "mac 02:00:00:00:00:01",
		"ip link set " + port + " nomaster":                                                 "is not a port of br-test",
		"ip link set " + port + " group 0":                                                  "group 0x0",
		"ip link set " + port + " type bridge_slave group_fwd_mask 0":                       "group_fwd_mask",
		"ip addr flush dev " + bridge:                                                       "addr host br-test 10.9.0.1/16: missing",
		"ip addr del fd00:9::1/64 dev " + bridge:                                            "addr host br-test fd00:9::1/64: missing",
		"ip route del 10.9.0.0/16 dev " + bridge:                                            "the route to its subnet is missing",
		"ip -6 route del fd00:9::/64 dev " + bridge:                                         "the route to its subnet is missing",
		"ip rule del pref 108":                                                              "rule iif br-test",
		"ip -6 rule del pref 108":                                                           "rule iif br-test",
		"ip route flush table 27763":                                                        "rule iif br-test",
		"ip -6 route flush table 27763":                                                     "rule iif br-test",
		"sysctl -qw net.ipv4.ip_forward=0":                                                  "net/ipv4/ip_forward = 1: is 0",
		"echo 0 > /proc/sys/net/ipv4/conf/" + bridge + "/forwarding":                        "forwarding = 1: is 0",
		"echo 0 > /proc/sys/net/ipv4/conf/all/forwarding":                                   "net/ipv4/ip_forward = 1: is 0",
		"echo 0 > /proc/sys/net/ipv4/conf/" + bridge + "/route_localnet":                    "route_localnet is 0",
		"echo 1 > /proc/sys/net/ipv6/conf/" + bridge + "/accept_ra":                         "accept_ra = 0: is 1",
		"echo 0 > /proc/sys/net/ipv6/conf/" + port + "/disable_ipv6":                        "disable_ipv6 = 1: is 0",
		"tc qdisc del dev " + bridge + " clsact":                                            "fence br-test localhost: missing",
		"tc filter del dev " + bridge + " ingress":                                          "fence br-test localhost: missing",
	}
}

// TestLossesAreRepaired: whatever others take away or change is put right without being
// asked for, and named.
func TestLossesAreRepaired(t *testing.T) {
	for command, want := range losses() {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t, policed(t))
			g.sh(t, "", command+" && :") // by a shell, so that it is no child of the test's
			eventually(t, "it is named: "+want, func() bool { lost, _, _, _ := g.seen(); return strings.Contains(lost, want) })
			g.whole(t, command)
			g.sh(t, kerneltest.Space(0), "ping -c1 -w5 10.9.0.1 && ping -c1 -w5 fd00:9::101 && ping -c1 -w5 10.8.0.2")
			_, who, _, _ := g.seen()
			if strings.HasPrefix(command, "nft") && !strings.Contains(who, "nft (process ") {
				t.Errorf("by whom: %q", who)
			}
		})
	}
}

// TestRepairConverges: after any number of losses, in any order, everything is back, and
// then there is peace: nothing is written any more.
func TestRepairConverges(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	g := newGuarded(t, policed(t))
	var commands []string
	for command := range losses() {
		commands = append(commands, command)
	}
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		var done []string
		for range 1 + random.IntN(5) {
			command := commands[random.IntN(len(commands))]
			done = append(done, command)
			g.sh(t, "", command+" || :") // what it is about may be gone
		}
		g.whole(t, strings.Join(done, "; "))
	}
	g.settled(t)
	_, _, _, before := g.seen()
	g.settled(t)
	if _, _, _, after := g.seen(); after-before > 3 {
		t.Errorf("%d repairs wrote something for three losses", after-before)
	}
}

// TestOwnChangesAreNotSuspected: what the engine itself does causes no look, or none that
// finds anything.
func TestOwnChangesAreNotSuspected(t *testing.T) {
	want := policed(t)
	g := newGuarded(t, want)
	g.settled(t)
	_, _, looks, written := g.seen()
	const attached = 10
	for i := range attached {
		next := kerneltest.Attach(t, want, 2+i)
		g.apply(t, want, next)
		g.want.Store(&next)
		g.apply(t, next, want)
		g.want.Store(&want)
	}
	g.settled(t)
	_, _, looksAfter, writtenAfter := g.seen()
	if writtenAfter-written > 3 {
		t.Errorf("%d repairs wrote something", writtenAfter-written)
	}
	t.Logf("%d looks for %d attachments and 3 losses", looksAfter-looks, attached)
}

// TestContainersKeepTheirOwn: what a container does in its own namespace is its own
// business; only its interface, if it deletes that, comes again.
func TestContainersKeepTheirOwn(t *testing.T) {
	g := newGuarded(t, policed(t))
	space := kerneltest.Space(0)
	g.sh(t, space, "ip addr del 10.9.1.1/16 dev eth0 && ip addr add 10.9.7.7/16 dev eth0 && ip link set eth0 mtu 1000 && ip link add eth9 type bridge")
	g.sh(t, "", "ip link set "+kerneltest.Port(0)+" nomaster")
	eventually(t, "the port is plugged in again", func() bool { lost, _, _, _ := g.seen(); return strings.Contains(lost, "is not a port of") })
	if out := g.sh(t, space, "ip addr show eth0; ip link show eth9"); strings.Contains(out, "10.9.1.1") || !strings.Contains(out, "10.9.7.7") {
		t.Errorf("in the container: %s", out)
	}
	g.sh(t, space, "ip link del eth0")
	eventually(t, "the interface comes again", func() bool {
		lost, _, _, _ := g.seen()
		return strings.Contains(lost, "vethtest0") && strings.Contains(lost, ": missing")
	})
	g.whole(t, "ip link del eth0")
	g.sh(t, space, "ip link show eth9 && ping -c1 -w5 10.9.0.1")
}
