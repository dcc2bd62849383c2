// Package border tries the border of a firewall, as every backend must keep it: thousands of
// forged frames are sent from containers by every way into the host, and where they get to
// is compared with what is right and with what a model of the kernel says.
//
// It must never be imported outside tests.
package border

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
	"github.com/linkspan/linkspan/internal/model"
)

// Rows are those of the lab with ports of TCP and of user space besides.
func Rows() []desired.Row {
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	a1 := firewalltest.PlaceOf("a1")
	rows := append(firewalltest.Rows(false),
		desired.Served{Protocol: model.UDP, Host: any6, First: 8070, Last: 8070},
		desired.Served{Protocol: model.TCP, Host: any4, First: 8070, Last: 8070},
		desired.Served{Protocol: model.TCP, Host: any6, First: 8070, Last: 8070},
		desired.Served{Protocol: model.TCP, Host: any4, First: 8085, Last: 8087},
		desired.Served{Protocol: model.TCP, Host: any6, First: 8085, Last: 8087},
		desired.Served{Protocol: model.TCP, Host: netip.MustParseAddr(firewalltest.Uplink4), First: 8081, Last: 8081},
		desired.Served{Protocol: model.TCP, Host: netip.MustParseAddr(firewalltest.Uplink6), First: 8081, Last: 8081},
		desired.Served{Protocol: model.TCP, Host: netip.MustParseAddr(firewalltest.Uplink4), First: 8071, Last: 8079},
		desired.Served{Protocol: model.TCP, Host: netip.MustParseAddr(firewalltest.Uplink6), First: 8071, Last: 8079},
		firewalltest.Publish(model.TCP, "0.0.0.0", [2]uint16{8080, 8080}, a1.IP4, 80), firewalltest.Publish(model.TCP, "::", [2]uint16{8080, 8080}, a1.IP6, 80))
	return rows
}

// bridgeFences are those of the lab's bridges.
func bridgeFences() map[string]desired.Fence {
	out := map[string]desired.Fence{}
	for _, bridge := range []string{"br-a", "br-b", "br-q"} {
		out[bridge] = desired.Fence{Link: bridge, Localhost: true}
	}
	out["br-i"] = desired.Fence{Link: "br-i", Inside: []netip.Prefix{netip.MustParsePrefix("10.3.0.0/24"), netip.MustParsePrefix("fd03::/64")}}
	return out
}

func fence(l *firewalltest.Lab) {
	for _, row := range bridgeFences() {
		l.Host.Fence(row)
	}
}

// fences sends honest frames along every way: to all places, to the host's sockets and
// to those who ask for ARP.
func fences(l *firewalltest.Lab, id int) {
	for _, bridge := range []string{"a1", "b1", "i1", "q1"} {
		p := firewalltest.PlaceOf(bridge)
		l.Send(p.Name, frames.Between(frames.Broadcast, p.MAC, p.IP4, neighbourOf(p).IP4).ARP(1, p.MAC, id))
		l.Send(p.Name, frames.Between(p.GatewayMAC(), p.MAC, p.IP4, firewalltest.HostOf(p.IP4, 24)).UDP(3, 9, id))
		l.Send(p.Name, frames.Between(p.GatewayMAC(), p.MAC, p.IP6, firewalltest.HostOf(p.IP6, 64)).UDP(3, 9, id))
	}
	out := firewalltest.PlaceOf("out")
	l.Send("a1", frames.Between(firewalltest.PlaceOf("a1").GatewayMAC(), firewalltest.PlaceOf("a1").MAC, firewalltest.PlaceOf("a1").IP4, out.IP4).UDP(3, 9, id))
	l.Send("a1", frames.Between(firewalltest.PlaceOf("a1").GatewayMAC(), firewalltest.PlaceOf("a1").MAC, firewalltest.PlaceOf("a1").IP4, firewalltest.PlaceOf("far").IP4).UDP(3, 9, id))
}

// fenceEyes are the eyes that fences get to.
func fenceEyes() []string {
	return []string{"a2", "manual", "open", "i2", "q2", "out", "far", "frames of type 806", "IPv4 17", "IPv6 17"}
}

// replay sends frames and returns the watch that has seen where they went. It keeps to
// one CPU, where the kernel works them off in order.
func replay(t *testing.T, l *firewalltest.Lab, frames []Forged) *watch {
	t.Helper()
	w := newWatch(t, frames)
	w.everywhere(l)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	l.Host.Must(unix.SchedGetaffinity(0, &all))
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	l.Host.Must(unix.SchedSetaffinity(0, &one))
	defer unix.SchedSetaffinity(0, &all) //nolint:errcheck // was allowed before
	const batch = 250
	for i, f := range frames {
		l.Send(f.from.Name, f.frame)
		if i%batch == batch-1 || i == len(frames)-1 {
			w.settled(uint32(i), func(id int) { fences(l, id) }, fenceEyes())
		}
	}
	return w
}

// Speakers are the places that forge: a container, one of an internal network, one
// that is kept from its neighbours, one whose port has no policy yet; and two with
// NET_ADMIN, one of them of the internal network.
func Speakers() []string { return []string{"a1", "i1", "q1", "dead", "cap", "capi"} }

// NewNetwork is the network of the lab, with the rules of Rows or some of them.
func NewNetwork(rules firewalltest.Model) Network {
	return Network{rules, func(firewalltest.Place) bool { return true }, bridgeFences(), map[int]netip.Addr{}}
}

// Frames sends thousands of frames of every kind from containers, and compares
// where they get to with what is right and with what the model says. The model knows
// bridges without br_netfilter.
func Frames(t *testing.T, backend firewalltest.Backend) {
	for _, bridgeNetfilter := range []bool{false, true} {
		t.Run(fmt.Sprintf("br_netfilter=%t", bridgeNetfilter), func(t *testing.T) {
			l := firewalltest.NewLearnedLab(t, bridgeNetfilter)
			backend.Resync(t, l.Host, Rows()...)
			fence(l)
			frames := Forgeries(12000, Speakers()...)
			w := replay(t, l, frames)
			if !bridgeNetfilter {
				w.compare(NewNetwork(backend.Model(t, Rows())))
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
func (w *watch) compare(n Network) {
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

// OldPorts: ports whose group_fwd_mask somebody takes back hand frames for
// reserved groups to their own stack. The rules still keep IP packets from getting any
// further; what has another EtherType gets to whoever listens for it on the port.
func OldPorts(t *testing.T, backend firewalltest.Backend) {
	l := firewalltest.NewLearnedLab(t, false)
	backend.Resync(t, l.Host, Rows()...)
	fence(l)
	for _, p := range firewalltest.Places() {
		if p.Ours {
			l.Host.Run("ip", "link", "set", p.Host, "type", "bridge_slave", "group_fwd_mask", "0")
		}
	}
	var frames []Forged
	for _, f := range Forgeries(12000, "a1") {
		if strings.HasPrefix(f.dmac, "01:80:c2:") {
			f.id = len(frames)
			f.frame = f.build()
			frames = append(frames, f)
		}
	}
	w := replay(t, l, frames)
	n := NewNetwork(backend.Model(t, Rows()))
	n.Passes = func(firewalltest.Place) bool { return false }
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

// LearnsNothingForged: a bridge learns from frames to reserved groups before
// any of its hooks. A container would have its neighbour's frames by it.
func LearnsNothingForged(t *testing.T, backend firewalltest.Backend) {
	l := firewalltest.NewLearnedLab(t, false)
	backend.Resync(t, l.Host, Rows()...)
	a1, a2, manual := firewalltest.PlaceOf("a1"), firewalltest.PlaceOf("a2"), firewalltest.PlaceOf("manual")
	for i, last := range []string{"00", "02", "03", "0e", "0f"} {
		l.Send("a1", frames.Between("01:80:c2:00:00:"+last, a2.MAC, a1.IP4, a2.IP4).UDP(1, 2, 1000))
		l.Send("a1", frames.Ether("01:80:c2:00:00:"+last, a2.MAC, 0x88cc, frames.Mark(1000), make([]byte, 40)))
		l.Send("manual", frames.Between(a2.MAC, manual.MAC, manual.IP4, a2.IP4).UDP(1, 2, i))
		if l.Arrives(i, "a2") == nil || l.Seen(i, "a1") != nil {
			t.Errorf("after a frame to ...:%s, what is for a2 gets to a1: %t", last, l.Seen(i, "a1") != nil)
		}
	}
}
