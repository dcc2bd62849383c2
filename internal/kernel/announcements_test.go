package kernel_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
)

// ear hears what comes to an interface in a namespace.
type ear struct{ fd int }

func (l lab) listen(t *testing.T, space, link string) ear {
	t.Helper()
	e := ear{-1}
	err := l.Netns().Do(t.Context(), space, func() (err error) {
		if e.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(htons(unix.ETH_P_ALL))); err != nil {
			return err
		}
		request, err := unix.NewIfreq(link)
		if err == nil {
			err = unix.IoctlIfreq(e.fd, unix.SIOCGIFINDEX, request)
		}
		if err == nil {
			err = unix.Bind(e.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: int(request.Uint32())})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(e.fd) })
	return e
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

// heard counts gratuitous ARP and unsolicited advertisements for an address that have
// come since the last look.
func (e ear) heard(addr netip.Addr) (n int) {
	b := make([]byte, 2048)
	want := addr.AsSlice()
	for {
		length, err := unix.Read(e.fd, b)
		if err != nil {
			return n
		}
		frame := b[:length]
		switch {
		case length >= 42 && addr.Is4() && bytes.Equal(frame[12:14], []byte{8, 6}) && bytes.Equal(frame[28:32], want) && bytes.Equal(frame[38:42], want):
			n++
		case length >= 86 && addr.Is6() && frame[20] == 58 && frame[54] == 136 && frame[58] == 0x20 && bytes.Equal(frame[62:78], want):
			n++
		}
	}
}

// announced returns kerneltest.Attached(2) with an announcement of the first endpoint.
func announced(t *testing.T, count int, every time.Duration) (desired.State, []netip.Addr) {
	t.Helper()
	s := kerneltest.Attached(t, 2)
	rows := kerneltest.Endpoint(0)
	row := desired.Announce{Namespace: kerneltest.Space(0), Link: "eth0", Count: count, Every: every}
	for _, r := range rows {
		switch r := r.(type) {
		case desired.Link:
			row.MAC = r.Peer.MAC
		case desired.Addr:
			row.Addrs = append(row.Addrs, r.Prefix.Addr())
		}
	}
	return kerneltest.With(t, s, kerneltest.EndpointOwner(0), append(rows, row)...), row.Addrs
}

// TestAnnounce: the neighbours of an endpoint that starts are told of its addresses, as
// often as was asked for; once by a daemon that finds it; never by a repair; and not any
// more when it is gone.
func TestAnnounce(t *testing.T) {
	l := newLab(t)
	neighbour := kerneltest.Attached(t, 2)
	neighbour = kerneltest.Detach(t, neighbour, 0)
	l.apply(t, desired.State{}, neighbour)
	// A look takes all that a socket has heard, so there is one for each family.
	hears, other := l.listen(t, kerneltest.Space(1), "eth0"), l.listen(t, kerneltest.Space(1), "eth0")
	count := map[netip.Addr]int{}
	want, addrs := announced(t, 3, 20*time.Millisecond)
	four, six := addrs[0], addrs[1]
	l.apply(t, neighbour, want)
	both := func() (int, int) {
		count[four] += hears.heard(four)
		count[six] += other.heard(six)
		return count[four], count[six]
	}
	eventually(t, "all is announced", func() bool { a, b := both(); return a == 3 && b == 3 })
	if r, err := l.Resync(t.Context(), want); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
		t.Errorf("resync: %+v, %v", r, err)
	}

	next := labOn(t, l.host, noFirewall{})
	if r, err := next.Resync(t.Context(), want); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
		t.Errorf("resync of the next daemon: %+v, %v", r, err)
	}
	eventually(t, "the next daemon says it once", func() bool { a, b := both(); return a == 4 && b == 4 })
	next.apply(t, want, neighbour)

	// One that goes on for long ends with the endpoint.
	long, _ := announced(t, 1_000_000, time.Millisecond)
	next.apply(t, neighbour, long)
	eventually(t, "it is being announced", func() bool { a, b := both(); return a > 10 && b > 10 })
	next.apply(t, long, neighbour)
	// A socket would keep the namespace, and with it the other end.
	eventually(t, "the namespace is gone with all in it", func() bool { return !next.exists(t, kerneltest.Port(0)) })
	both()
	if a, b := hears.heard(four), other.heard(six); a != 0 || b != 0 {
		t.Errorf("announced after its end: %d and %d", a, b)
	}
	if a, b := count[four], count[six]; a < 5 || b < 5 {
		t.Errorf("heard %d and %d", a, b)
	}
}
