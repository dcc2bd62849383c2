package watch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// FuzzTake: whatever comes, there is an end and no panic.
func FuzzTake(f *testing.F) {
	message := func(kind uint16, body ...byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		return append(append(b, make([]byte, unix.NLMSG_HDRLEN-len(b))...), body...)
	}
	f.Add([]byte{}, true)
	f.Add(message(unix.RTM_DELADDR, make([]byte, 8)...), false)
	f.Add(message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELTABLE, 1, 0, 0, 0, 8, 0, 1, 0, 't', 0, 0, 0), true)
	f.Add(message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN, 0, 0, 0, 0, 8, 0, genProcPID, 0, 0, 0, 0, 7), true)
	f.Fuzz(func(t *testing.T, b []byte, firewall bool) {
		w := &watcher{names: map[int]string{}}
		events := 0
		r := reader{tables: map[Table]bool{{Family: 1, Name: "t"}: true}, touched: map[Table]bool{}, handle: func(e Event) {
			events++
			if len(w.names) > maxNames {
				t.Error("names without end")
			}
		}}
		protocol := unix.NETLINK_ROUTE
		if firewall {
			protocol = unix.NETLINK_NETFILTER
		}
		r.take(protocol, b)
		if events > len(b)/unix.NLMSG_HDRLEN {
			t.Errorf("%d events of %d bytes", events, len(b))
		}
	})
}

func TestProcess(t *testing.T) {
	for want, p := range map[string]process{
		"": {}, "process 7": {pid: 7}, "nft (process 7)": {pid: 7, name: "nft"}, "nft": {name: "nft"},
	} {
		if got := p.String(); got != want {
			t.Errorf("%+v: %q, want %q", p, got, want)
		}
	}
	if got := printable("a\nb\x1b[0m\u00e9 a long name of a process"); strings.ContainsAny(got, "\n\x1b") || len(got) > 16 {
		t.Errorf("%q", got)
	}
	if got := byPort(1 << 31); got != (process{}) {
		t.Errorf("a port that is no process: %+v", got)
	}
}

// opened is a watch in a namespace of its own, whose table t is told of.
func opened(t *testing.T, own ...uint32) (kerneltest.Host, *Watch) {
	t.Helper()
	h := kerneltest.New(t)
	var w *Watch
	h.Do(t, func() {
		var err error
		if w, err = Open(Options{Own: own, Tables: []Table{{Family: unix.NFPROTO_INET, Name: "t"}, {Family: unix.NFPROTO_IPV4, Name: "filter", Chain: "FORWARD"}}}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.Close)
	return h, w
}

// sh runs a command by a shell, so that it is no child of the test's.
func sh(t *testing.T, h kerneltest.Host, command string) {
	t.Helper()
	h.Do(t, func() {
		if out, err := exec.Command("sh", "-c", command+" && :").CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", command, err, out)
		}
	})
}

// run passes events to a channel until the test ends.
func run(t *testing.T, w *Watch) <-chan Event {
	t.Helper()
	events, done := make(chan Event, 1024), make(chan error)
	go func() { done <- w.Run(func(e Event) { events <- e }) }()
	t.Cleanup(func() {
		w.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return events
}

func next(t *testing.T, events <-chan Event) Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is heard")
		panic("unreachable")
	}
}

// TestOnlyWhatMatters: of tables one is told of, and of routes those that go and were
// the kernel's or ours.
func TestOnlyWhatMatters(t *testing.T) {
	h, w := opened(t)
	events := run(t, w)
	sh(t, h, "nft add table inet other && nft add table ip t && nft add table inet t && nft delete table inet other && nft delete table inet t")
	for range 2 {
		if e := next(t, events); e.Table.Name != "t" || e.Table.Family != unix.NFPROTO_INET || !strings.HasPrefix(e.Who(), "nft (process ") {
			t.Errorf("%+v by %q", e, e.Who())
		}
	}
	sh(t, h, "ip link add br0 type bridge && ip link set br0 up && ip addr add 10.1.0.1/24 dev br0")
	sh(t, h, "ip route add 10.2.0.0/24 via 10.1.0.2 && ip route del 10.2.0.0/24 && ip route del 10.1.0.0/24 dev br0")
	for {
		e := next(t, events)
		if e.Type == unix.RTM_DELROUTE {
			if e.Body[1] != 24 || e.Body[5] != unix.RTPROT_KERNEL {
				t.Errorf("route %v", e.Body[:8])
			}
			break
		}
	}
	if len(events) > 0 {
		t.Errorf("and then %+v", next(t, events))
	}
}

// TestOwnIsLeftOut: what came through a port of the engine's is not heard.
func TestOwnIsLeftOut(t *testing.T) {
	h := kerneltest.New(t)
	var w *Watch
	h.Do(t, func() {
		c, err := rtnl.Open(new(atomic.Int64))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		port, err := c.Port()
		if err == nil {
			w, err = Open(Options{Own: []uint32{7, port}})
		}
		own := netip.MustParsePrefix("10.5.0.1/32")
		if err := errors.Join(err, addr.Put(c, 1, own, false), addr.Delete(c, 1, own)); err != nil {
			t.Error(err)
		}
	})
	events := run(t, w)
	sh(t, h, "ip addr add 10.6.0.1/32 dev lo && ip addr del 10.6.0.1/32 dev lo")
	e := next(t, events)
	if i, err := addr.Parse(e.Body); err != nil || e.Type != unix.RTM_DELADDR || i.Prefix.String() != "10.6.0.1/32" {
		t.Errorf("heard first: type %d, %+v, %v", e.Type, i, err)
	}
}

// TestOverflow: what comes faster than it is read is lost, and that is told.
func TestOverflow(t *testing.T) {
	h, w := opened(t)
	var b strings.Builder
	b.WriteString("table inet t { set s { type ipv4_addr; elements = { ")
	for i := range 60_000 {
		fmt.Fprintf(&b, "10.%d.%d.%d,", i>>16, i>>8&255, i&255)
	}
	b.WriteString("10.9.9.9 }\n}\n}\n")
	rules := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(rules, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		sh(t, h, "nft -f "+rules+" && nft delete table inet t")
	}
	events := run(t, w)
	for !next(t, events).Overflow {
	}
}
