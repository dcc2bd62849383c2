package nft

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// borderRows are those of the lab with ports of TCP and of user space besides.
func borderRows() []desired.Row {
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	a1 := placeOf("a1")
	rows := append(labRows(false),
		desired.Served{Protocol: model.UDP, Host: any6, First: 8070, Last: 8070},
		desired.Served{Protocol: model.TCP, Host: any4, First: 8070, Last: 8070},
		desired.Served{Protocol: model.TCP, Host: any6, First: 8070, Last: 8070},
		desired.Served{Protocol: model.TCP, Host: any4, First: 8085, Last: 8087},
		desired.Served{Protocol: model.TCP, Host: any6, First: 8085, Last: 8087},
		desired.Served{Protocol: model.TCP, Host: netip.MustParseAddr(uplink4), First: 8081, Last: 8081},
		desired.Served{Protocol: model.TCP, Host: netip.MustParseAddr(uplink6), First: 8081, Last: 8081},
		desired.Served{Protocol: model.TCP, Host: netip.MustParseAddr(uplink4), First: 8071, Last: 8079},
		desired.Served{Protocol: model.TCP, Host: netip.MustParseAddr(uplink6), First: 8071, Last: 8079},
		publish(model.TCP, "0.0.0.0", 8080, 8080, a1.ip4, 80), publish(model.TCP, "::", 8080, 8080, a1.ip6, 80))
	return rows
}

// borderFences are those of the lab's bridges.
func borderFences() map[string]desired.Fence {
	out := map[string]desired.Fence{}
	for _, bridge := range []string{"br-a", "br-b", "br-q"} {
		out[bridge] = desired.Fence{Link: bridge, Localhost: true}
	}
	out["br-i"] = desired.Fence{Link: "br-i", Inside: []netip.Prefix{prefix("10.3.0.0/24"), prefix("fd03::/64")}}
	return out
}

// newBorder is a lab without rules: bridges that have fe80::1 and know who is where,
// as if everybody had spoken before.
func newBorder(t *testing.T, bridgeNetfilter bool) *lab {
	l := newLab(t, bridgeNetfilter)
	for _, p := range places() {
		if p.bridge == "" {
			continue
		}
		link, err := l.host.link.LinkByName(p.host)
		l.host.must(err)
		l.host.must(l.host.link.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER, State: netlink.NUD_NOARP, HardwareAddr: parseMAC(p.mac),
		}))
	}
	for _, bridge := range []string{"br-a", "br-b", "br-i", "br-q"} {
		l.host.address(bridge, "fe80::1/64")
	}
	l.host.do(func() error { // this namespace may have its creator's
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

func (l *lab) fence() {
	for _, row := range borderFences() {
		l.host.fence(row)
	}
}

// fences sends honest frames along every way: to all places, to the host's sockets and
// to those who ask for ARP.
func (l *lab) fences(id int) {
	for _, bridge := range []string{"a1", "b1", "i1", "q1"} {
		p := placeOf(bridge)
		l.send(p.name, arpFrame(broadcastMAC, p.mac, 1, p.mac, p.ip4, neighbourOf(p).ip4, id))
		l.send(p.name, udpFrame(p.gatewayMAC(), p.mac, p.ip4, hostOf(p.ip4, 24), 3, 9, id))
		l.send(p.name, udpFrame(p.gatewayMAC(), p.mac, p.ip6, hostOf(p.ip6, 64), 3, 9, id))
	}
	out := placeOf("out")
	l.send("a1", udpFrame(placeOf("a1").gatewayMAC(), placeOf("a1").mac, placeOf("a1").ip4, out.ip4, 3, 9, id))
	l.send("a1", udpFrame(placeOf("a1").gatewayMAC(), placeOf("a1").mac, placeOf("a1").ip4, placeOf("far").ip4, 3, 9, id))
}

// fenceEyes are the eyes that fences get to.
func fenceEyes() []string {
	return []string{"a2", "manual", "open", "i2", "q2", "out", "far", "frames of type 806", "IPv4 17", "IPv6 17"}
}

// replay sends frames and returns the watch that has seen where they went. It keeps to
// one CPU, where the kernel works them off in order.
func (l *lab) replay(frames []forged) *watch {
	l.t.Helper()
	w := newWatch(l.t, frames)
	w.everywhere(l)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	l.host.must(unix.SchedGetaffinity(0, &all))
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	l.host.must(unix.SchedSetaffinity(0, &one))
	defer unix.SchedSetaffinity(0, &all) //nolint:errcheck // was allowed before
	const batch = 250
	for i, f := range frames {
		l.send(f.from.name, f.frame)
		if i%batch == batch-1 || i == len(frames)-1 {
			w.settled(uint32(i), l.fences, fenceEyes())
		}
	}
	return w
}

// speakers are the places that forge: a container, one of an internal network, one
// that is kept from its neighbours, one whose port has no policy yet; and two with
// NET_ADMIN, one of them of the internal network.
var speakers = []string{"a1", "i1", "q1", "dead", "cap", "capi"}

// newModel is the network of the lab, with the rules of borderRows.
func newModel(t *testing.T) network {
	return network{newTracer(t, borderRows()), func(place) bool { return true }, borderFences(), map[int]netip.Addr{}}
}

// TestBorder sends thousands of frames of every kind from containers, and compares
// where they get to with what is right and with what the model says. The model knows
// bridges without br_netfilter.
func TestBorder(t *testing.T) {
	for _, bridgeNetfilter := range []bool{false, true} {
		t.Run(fmt.Sprintf("br_netfilter=%t", bridgeNetfilter), func(t *testing.T) {
			l := newBorder(t, bridgeNetfilter)
			resync(t, newBackend(t, l.host), borderRows()...)
			l.fence()
			frames := forgeries(12000, speakers...)
			w := l.replay(frames)
			if !bridgeNetfilter {
				w.compare(newModel(t))
			}
			count := map[string]int{}
			for _, f := range frames {
				seen := w.where(f.id)
				for _, where := range seen {
					if why := f.wrongAt(where, w.source(f.id)); why != "" {
						t.Errorf("%s: got to %s: %s", f, where, why)
					}
					count[where]++
				}
				if len(seen) == 0 {
					count["nowhere"]++
				}
			}
			t.Logf("%d frames: %v", len(frames), count)
			for _, where := range []string{atHost, "a2", "manual", "i2", "out", "far", "open", "nowhere"} {
				if count[where] < 30 {
					t.Errorf("only %d frames got to %s", count[where], where)
				}
			}
		})
	}
}

// compare says what the model thinks otherwise of than the kernel.
func (w *watch) compare(n network) {
	w.t.Helper()
	for _, f := range w.sent {
		seen, said := w.where(f.id), n.fate(f)
		slices.Sort(said)
		if !slices.Equal(seen, said) {
			w.t.Errorf("%s: got to %v, and the model says %v", f, seen, said)
		}
		if left := n.left[f.id]; slices.Contains(seen, "out") && w.source(f.id) != left {
			w.t.Errorf("%s: left as %s, and the model says %s", f, w.source(f.id), left)
		}
	}
}

// TestBorderOfOldPorts: ports whose group_fwd_mask somebody takes back hand frames for
// reserved groups to their own stack. The rules still keep IP packets from getting any
// further; what has another EtherType gets to whoever listens for it on the port.
func TestBorderOfOldPorts(t *testing.T) {
	l := newBorder(t, false)
	resync(t, newBackend(t, l.host), borderRows()...)
	l.fence()
	for _, p := range places() {
		if p.ours {
			l.host.run("ip", "link", "set", p.host, "type", "bridge_slave", "group_fwd_mask", "0")
		}
	}
	var frames []forged
	for _, f := range forgeries(12000, "a1") {
		if strings.HasPrefix(f.dmac, "01:80:c2:") {
			f.id = len(frames)
			f.frame = f.build()
			frames = append(frames, f)
		}
	}
	w := l.replay(frames)
	n := newModel(t)
	n.passes = func(place) bool { return false }
	w.compare(n)
	atPorts := 0
	for _, f := range frames {
		for _, where := range w.where(f.id) {
			if where != atPort {
				t.Errorf("%s: got to %s", f, where)
			} else if atPorts++; f.dmac != "01:80:c2:00:00:0e" {
				t.Errorf("%s: the hook input let it through", f)
			}
		}
	}
	if atPorts == 0 {
		t.Error("nothing got to a port: the test would not notice if anything did")
	}
}

// TestBridgeLearnsNothingForged: a bridge learns from frames to reserved groups before
// any of its hooks. A container would have its neighbour's frames by it.
func TestBridgeLearnsNothingForged(t *testing.T) {
	l := newBorder(t, false)
	resync(t, newBackend(t, l.host), borderRows()...)
	a1, a2, manual := placeOf("a1"), placeOf("a2"), placeOf("manual")
	for i, last := range []string{"00", "02", "03", "0e", "0f"} {
		l.send("a1", udpFrame("01:80:c2:00:00:"+last, a2.mac, a1.ip4, a2.ip4, 1, 2, 1000))
		l.send("a1", ether("01:80:c2:00:00:"+last, a2.mac, 0x88cc, mark(1000), make([]byte, 40)))
		l.send("manual", udpFrame(a2.mac, manual.mac, manual.ip4, a2.ip4, 1, 2, i))
		if l.arrives(i, "a2") == nil || l.sinks["a1"].frame(i) != nil {
			t.Errorf("after a frame to ...:%s, what is for a2 gets to a1: %t", last, l.sinks["a1"].frame(i) != nil)
		}
	}
}

// TestEveryRuleOfTheBorderMatters leaves out one rule after the other, of those that no
// trial is about: with frames enough, something gets where it must not.
func TestEveryRuleOfTheBorderMatters(t *testing.T) {
	n := newModel(t)
	n.fences = nil
	frames := forgeries(30000, speakers...)
	for i, table := range n.tables {
		for j, chain := range table.chains {
			for k, r := range chain.rules {
				about := chain.name == chainShut || chain.name == "input" && table.family == unix.NFPROTO_INET ||
					r.comment == reservedGroup().comment || r.comment == byThePortItself().comment || strings.Contains(r.comment, "translate")
				if !about || r.comment == "traffic of published ports" {
					continue
				}
				n.passes = func(place) bool {
					return chain.name == "prerouting" || table.family == unix.NFPROTO_INET && chain.name != "early"
				}
				n.tables[i].chains[j].rules = slices.Concat(chain.rules[:k], chain.rules[k+1:])
				if !n.goesWrong(frames) {
					t.Errorf("%s: chain %s: nobody misses rule %d (%s)", table, chain.name, k+1, r.comment)
				}
				n.tables[i].chains[j].rules = chain.rules
			}
		}
	}
	n.passes = func(place) bool { return true }
	if n.goesWrong(frames) {
		t.Error("something goes wrong with all of them")
	}
}

// goesWrong tells whether a frame gets where it must not.
func (n network) goesWrong(frames []forged) bool {
	return slices.ContainsFunc(frames, func(f forged) bool {
		return slices.ContainsFunc(n.fate(f), func(where string) bool {
			// A frame that gets to a port whose mask is gone is stopped there by no rule.
			lost := where == atPort && f.dmac == "01:80:c2:00:00:0e"
			return !lost && f.wrongAt(where, n.left[f.id]) != ""
		})
	})
}

// wrongAt says why a frame must not get to where it was seen; empty if it may. It knows
// what networks promise and nothing of rules.
func (f forged) wrongAt(where string, left netip.Addr) string {
	p := f.from
	src, dst := netip.MustParseAddr(f.src), netip.MustParseAddr(f.dst)
	invalid := f.body.state == stateInvalid
	own := []string{p.ip4, p.ip6, onLink4, ownLinkLocal(p.mac)}
	if p.name == "a1" {
		own = append(own, elsewhere4, elsewhere6)
	}
	switch {
	case where == atPort:
		return "nothing is for the port itself"
	case p.name == "dead":
		return "a port without policy is dead"
	case strings.HasPrefix(f.dmac, "01:80:c2:00:00:0"):
		return "no bridge forwards to this group"
	case f.tags > 0 || f.body.family == noIP:
		return "neither IP nor ARP"
	case p.mode == desired.PortCapable && !slices.Contains(own, f.src) && f.wrongClaim(src) != "":
		return f.wrongClaim(src)
	case p.mode == desired.PortCapable && f.smac != p.mac && f.smac != chosenMAC:
		return "a MAC address of somebody else"
	case p.mode == desired.PortCapable && where == atHost && f.wrongFromCapable(src) != "":
		return f.wrongFromCapable(src)
	case p.mode == desired.PortCapable:
	case f.smac != p.mac:
		return "a MAC address that is not its own"
	case strings.Contains(f.body.name, "advertisement"), strings.HasPrefix(f.body.name, "a redirect"), strings.HasPrefix(f.body.name, "a DHCP"):
		return "speaks as a router or server"
	case f.body.family == four && !slices.Contains(own, f.src),
		f.body.family == six && !slices.Contains(own, f.src):
		return "an address that is not its own"
	}
	switch {
	case where == atHost:
		return f.wrongAtHost(dst, invalid)
	case where == "out" || where == "far":
		host := left.String() == uplink4 || left.String() == uplink6 || left.String() == "198.51.100.1" || left.String() == "2001:db8:1::1"
		switch {
		case p.bridge == "br-i":
			return "an internal network's"
		case !host:
			return fmt.Sprintf("left the host as %s", left)
		}
		return ""
	}
	return f.wrongAtNeighbour(placeOf(where), dst)
}

// wrongClaim says why a container with NET_ADMIN must not use an address that it was
// not given; empty if it may.
func (f forged) wrongClaim(a netip.Addr) string {
	nobody := f.body.kind == etherARP || f.body.family == six && strings.Contains(f.body.name, "a ") || strings.Contains(f.body.name, "echo")
	switch {
	case isLocal(a) || a.String() == "fe80::1":
		return "the host's address"
	case a.IsUnspecified() && f.body.state != stateUntracked && !nobody:
		return "nobody's address"
	case a.IsLoopback() || a.IsMulticast() || a.Is4In6() || a.String() == "255.255.255.255":
		return "an address that cannot be"
	}
	for _, p := range places() {
		if p.pinned && p.bridge == f.from.bridge && slices.Contains([]string{p.ip4, p.ip6, ownLinkLocal(p.mac)}, a.String()) {
			return "a neighbour's address"
		}
	}
	return ""
}

// wrongFromCapable is about what the host itself takes of a container with NET_ADMIN.
func (f forged) wrongFromCapable(src netip.Addr) string {
	switch {
	case strings.Contains(f.body.name, "advertisement"), strings.HasPrefix(f.body.name, "a redirect"):
		return "the host takes no word of a router"
	case f.body.kind != etherARP && (src.String() == "8.8.8.8" || src.String() == "2001:db8:77::7"):
		return "a source from where no answer comes back"
	}
	return ""
}

func (f forged) wrongAtHost(dst netip.Addr, invalid bool) string {
	switch {
	case dst.IsLoopback() && f.body.kind != etherARP:
		return "127.0.0.1 is the host's alone"
	case f.from.bridge == "br-i" && f.body.kind != etherARP && !dst.IsMulticast() && dst.String() != "255.255.255.255" &&
		dst.String() != hostOf(f.from.ip4, 24) && dst.String() != hostOf(f.from.ip6, 64) && dst.String() != "fe80::1":
		return "an internal network has nothing of the host but its gateway"
	case (f.from.bridge == "br-i" || invalid) && f.isPublished(dst):
		return "a published port"
	}
	return ""
}

// isPublished tells whether a port that a body names is published at an address of the
// host, by portRows or borderRows.
func (f forged) isPublished(dst netip.Addr) bool {
	protocol, rest, _ := strings.Cut(f.body.name, " to port ")
	port, err := strconv.Atoi(strings.TrimSuffix(rest, ", IPv6"))
	if err != nil || dst.IsMulticast() {
		return false
	}
	uplink := dst.String() == uplink4 || dst.String() == uplink6
	if protocol != "UDP" {
		return port == 8080 || port == 8070 || port >= 8085 && port <= 8087 || uplink && (port >= 8071 && port <= 8079 || port == 8081)
	}
	return slices.Contains([]int{8080, 8090, 8095, 9005}, port) || port == 8070 && dst.Is6() || uplink && (port == 8081 || port == 9201)
}

func (f forged) wrongAtNeighbour(to place, dst netip.Addr) string {
	published := strings.HasPrefix(f.body.name, "UDP") || strings.Contains(f.body.name, "to port 8080")
	switch {
	case to.bridge == f.from.bridge && to.name == "dead":
		return "a port without policy is dead"
	case to.bridge == f.from.bridge && f.from.bridge == "br-q" && f.body.kind != etherARP && (to.name != f.from.name || !published):
		return "icc=false"
	case to.bridge == f.from.bridge:
		return ""
	case f.from.bridge == "br-i" || to.bridge == "br-i":
		return "an internal network"
	case to.name == "open", published && (isLocal(dst) || dst.String() == "fe80::1"), to.name == "b1" && dst.String() == to.ip4, to.name == "b1" && dst.String() == to.ip6:
		return "" // is open to direct routing, or some of its ports are
	}
	return "another network"
}
