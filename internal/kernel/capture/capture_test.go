package capture

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/packetfilter"
)

func filter(t *testing.T, text string, snapLen int) Program {
	t.Helper()
	f, err := packetfilter.Parse(text, func(string) []netip.Addr { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return func(places []facts.Place) ([]bpf.Instruction, error) { return f.Compile(places, snapLen) }
}

// say sends a datagram of so many bytes to a port of the host's own.
func say(t *testing.T, host kerneltest.Host, port, size int) {
	t.Helper()
	host.Do(t, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Sendto(fd, make([]byte, size), 0, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
	})
}

func next(t *testing.T, s *Source) facts.Frame {
	t.Helper()
	select {
	case f, ok := <-s.Frames():
		if !ok {
			t.Fatal("the source has ended")
		}
		return f
	case <-time.After(5 * time.Second):
		t.Fatal("nothing was heard")
	}
	return facts.Frame{}
}

// TestCapture: of what goes by, what the filter wants is heard, in the directions that are
// wanted, cut where it is to be cut; and the end is the end.
func TestCapture(t *testing.T) {
	host := kerneltest.New(t)
	c := New(host.Namespaces(t))
	taps := []facts.Tap{{Link: "nobody", Incoming: true}, {Link: "lo", Outgoing: true}}
	s, err := c.Open(t.Context(), taps, filter(t, "udp dst port 1001", 60), 60)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Minute)
	say(t, host, 1000, 10)
	say(t, host, 1001, 100)
	say(t, host, 1001, 10)
	first, second := next(t, s), next(t, s)
	if first.Tap != 1 || !first.Outgoing || len(first.Data) != 60 || first.Length != 14+28+100 || first.At.Before(before) || first.At.After(time.Now()) {
		t.Errorf("%+v", first)
	}
	if second.Length != 14+28+10 || len(second.Data) != second.Length {
		t.Errorf("%+v", second)
	}
	if n := s.Counts(); len(n) != 1 || n[0].Dropped != 0 || n[0].Tap != 0 {
		t.Errorf("%+v", n)
	}
	s.Close()
	if f, open := <-s.Frames(); open {
		t.Errorf("after the end: %+v", f)
	}
}

// TestSeveralPlaces: one socket hears several interfaces, and no others.
func TestSeveralPlaces(t *testing.T) {
	host := kerneltest.New(t)
	host.Do(t, func() {
		if _, err := net.InterfaceByName("lo"); err != nil {
			t.Fatal(err)
		}
	})
	program := filter(t, "", 100)
	s, err := New(host.Namespaces(t)).Open(t.Context(), []facts.Tap{{Link: "lo", Incoming: true}}, func(places []facts.Place) ([]bpf.Instruction, error) {
		return program(append(places, facts.Place{Index: 4000, Incoming: true, Outgoing: true}))
	}, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	say(t, host, 1000, 10)
	if f := next(t, s); f.Outgoing {
		t.Errorf("%+v", f)
	}
	select {
	case f := <-s.Frames():
		if f.Outgoing {
			t.Errorf("what leaves was not asked for: %+v", f)
		}
	default:
	}
}

// TestDrops: who does not read misses frames, and is told how many.
func TestDrops(t *testing.T) {
	host := kerneltest.New(t)
	s, err := New(host.Namespaces(t)).Open(t.Context(), []facts.Tap{{Link: "lo", Outgoing: true}}, filter(t, "", 1<<20), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 1000 {
		say(t, host, 1000, 60000)
		if s.Counts()[0].Dropped > 0 {
			return
		}
	}
	t.Error("60 MB fit into a buffer of 8")
}

func TestNothingThere(t *testing.T) {
	host := kerneltest.New(t)
	_, err := New(host.Namespaces(t)).Open(t.Context(), []facts.Tap{{Link: "nobody"}, {Namespace: "gone", Link: "eth0"}}, filter(t, "", 100), 100)
	if model.KindOf(err) != model.NotFound {
		t.Error(err)
	}
}

// FuzzFrameOf: whatever the kernel says beside a frame, nothing of it is read beyond its end.
func FuzzFrameOf(f *testing.F) {
	f.Add([]byte("frame"), []byte{})
	f.Add(make([]byte, 14), append(append([]byte{36, 0, 0, 0, 0, 0, 0, 0, 7, 1, 0, 0, 8, 0, 0, 0}, 16), make([]byte, 19)...))
	f.Fuzz(func(t *testing.T, data, control []byte) {
		got := frameOf(data, control)
		if len(got.Data) < len(data) || len(got.Data) > len(data)+4 || got.Length < len(got.Data) {
			t.Errorf("%d bytes of %d, length %d", len(got.Data), len(data), got.Length)
		}
	})
}
