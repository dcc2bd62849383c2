package hostports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// TestReservedPortsAreTakenForOthers: nobody else can bind while a port is
// reserved, and everybody can before and after.
func TestReservedPortsAreTakenForOthers(t *testing.T) {
	for _, c := range []struct {
		protocol model.Protocol
		addr     string
		network  string
		other    string
		refused  bool
	}{
		{model.TCP, "0.0.0.0", "tcp4", "0.0.0.0:7000", true},
		{model.TCP, "0.0.0.0", "tcp4", "127.0.0.1:7000", true},
		{model.TCP, "0.0.0.0", "tcp", ":7000", true},
		{model.TCP, "0.0.0.0", "tcp6", "[::1]:7000", false},
		{model.TCP, "0.0.0.0", "tcp4", "0.0.0.0:7001", false},
		{model.TCP, "127.0.0.1", "tcp4", "0.0.0.0:7000", true},
		{model.TCP, "127.0.0.1", "tcp4", "127.0.0.1:7000", true},
		{model.TCP, "127.0.0.1", "tcp4", "127.0.0.2:7000", false},
		{model.TCP, "::", "tcp6", "[::]:7000", true},
		{model.TCP, "::", "tcp6", "[::1]:7000", true},
		{model.TCP, "::", "tcp4", "0.0.0.0:7000", false},
		{model.TCP, "::1", "tcp", "[::]:7000", true},
		{model.TCP, "::1", "tcp4", "127.0.0.1:7000", false},
		{model.TCP, "0.0.0.0", "udp4", "0.0.0.0:7000", false},
		{model.UDP, "0.0.0.0", "udp4", "0.0.0.0:7000", true},
		{model.UDP, "0.0.0.0", "udp4", "127.0.0.1:7000", true},
		{model.UDP, "0.0.0.0", "udp6", "[::1]:7000", false},
		{model.UDP, "127.0.0.1", "udp4", "0.0.0.0:7000", true},
		{model.UDP, "127.0.0.1", "udp4", "127.0.0.2:7000", false},
		{model.UDP, "::", "udp6", "[::1]:7000", true},
		{model.UDP, "::", "udp4", "127.0.0.1:7000", false},
		{model.UDP, "::1", "udp6", "[::]:7000", true},
	} {
		row := reserve(c.protocol, c.addr, 7000)
		t.Run(fmt.Sprintf("%s against %s %s", row, c.network, c.other), func(t *testing.T) {
			s := start(t)
			if err := tryBind(c.network, c.other); err != nil {
				t.Fatalf("before: %v", err)
			}
			hold(t, s, row)
			err := tryBind(c.network, c.other)
			if c.refused != errors.Is(err, unix.EADDRINUSE) || !c.refused && err != nil {
				t.Errorf("while reserved: %v, refused should be %t", err, c.refused)
			}
			if err := s.Release(t.Context(), []desired.Reserve{row}); err != nil {
				t.Fatal(err)
			}
			if err := tryBind(c.network, c.other); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// TestNobodySharesAReservedPort: neither SO_REUSEADDR nor SO_REUSEPORT gets in.
func TestNobodySharesAReservedPort(t *testing.T) {
	s := start(t)
	hold(t, s, reserve(model.TCP, "0.0.0.0", 7000), reserve(model.UDP, "0.0.0.0", 7000))
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
		for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
				t.Fatal(err)
			}
			if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 7000, Addr: [4]byte{127, 0, 0, 1}}); err != unix.EADDRINUSE {
				t.Errorf("bind of kind %d with option %d: %v", kind, option, err)
			}
			unix.Close(fd)
		}
	}
}

func TestReservedPortGivesNoAnswer(t *testing.T) {
	s := start(t)
	hold(t, s, reserve(model.TCP, "0.0.0.0", 7000), reserve(model.TCP, "::", 7000), reserve(model.UDP, "::", 7000))
	for _, address := range []string{"127.0.0.1:7000", "[::1]:7000"} {
		if !silent(t, address) {
			t.Errorf("%s answers", address)
		}
	}
	c, err := net.Dial("udp", "[::1]:7000")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 { // the second would report an ICMP error that the first met
		if _, err := c.Write([]byte("x")); err != nil {
			t.Errorf("udp: %v", err)
		}
	}
}

// TestSocketsStayInThisProcess: programs that the process starts do not get them.
func TestSocketsStayInThisProcess(t *testing.T) {
	s := start(t)
	hold(t, s, reserve(model.TCP, "::1", 7000), reserve(model.UDP, "::1", 7000))
	for sock := range s.sockets.All() {
		err := sock.Control(func(fd int) error {
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if err == nil && flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s is inherited", sock)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestTakenPortNamesItsHolder(t *testing.T) {
	for _, c := range []struct {
		network, at string
		row         desired.Reserve
		port        uint16
	}{
		{"tcp4", "127.0.0.1:7003", reserve(model.TCP, "0.0.0.0", 7000, 7005), 7003},
		{"tcp4", "127.0.0.1:7003", reserve(model.TCP, "127.0.0.1", 7003), 7003},
		{"tcp", "[::]:7003", reserve(model.TCP, "127.0.0.1", 7003), 7003},
		{"tcp6", "[::1]:7003", reserve(model.TCP, "::", 7003), 7003},
		{"udp4", "0.0.0.0:7003", reserve(model.UDP, "127.0.0.1", 7003), 7003},
		{"udp6", "[::1]:7003", reserve(model.UDP, "::", 7000, 7005), 7003},
		// Without sockets of our own:
		{"tcp4", "127.0.0.1:7003", reserve(model.TCP, "0.0.0.0", 5000, 9000), 7003},
		{"tcp", "[::]:7003", reserve(model.TCP, "0.0.0.0", 5000, 9000), 7003},
		{"udp6", "[::]:7003", reserve(model.UDP, "::1", 5000, 9000), 7003},
		{"udp", "[::]:5000", reserve(model.UDP, "127.0.0.1", 5000, 9000), 5000},
	} {
		t.Run(c.row.String()+" against "+c.network+" "+c.at, func(t *testing.T) {
			s := start(t)
			var other interface{ Close() error }
			var err error
			if strings.HasPrefix(c.network, "tcp") {
				other, err = net.Listen(c.network, c.at)
			} else {
				other, err = net.ListenPacket(c.network, c.at)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			free := reserve(model.TCP, "127.0.0.1", 4999)
			err = s.Reserve(t.Context(), []desired.Reserve{free, c.row})
			var held *desired.PortTaken
			if !errors.As(err, &held) {
				t.Fatalf("Reserve: %v", err)
			}
			if held.Row != c.row || held.Port != c.port || held.Who != self(t) || !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("got %+v, want port %d held by %s", held, c.port, self(t))
			}
			want := fmt.Sprintf("failed to bind host port %s:%d/%s: address already in use", bracket(c.row), c.port, c.row.Protocol)
			if err.Error() != want {
				t.Errorf("text %q, want %q", err, want)
			}
			if got := s.Reserved(); len(got) > 0 || s.sockets.Len() > 0 {
				t.Errorf("still held after the refusal: %v, %d sockets", got, s.sockets.Len())
			}
			other.Close()
			hold(t, s, free, c.row)
		})
	}
}

func bracket(row desired.Reserve) string {
	if row.Addr.Is6() {
		return "[" + row.Addr.String() + "]"
	}
	return row.Addr.String()
}

// TestWideRangeMindsOnlyItsOwn: what is not in the way does not refuse a range
// that has no sockets.
func TestWideRangeMindsOnlyItsOwn(t *testing.T) {
	s := start(t)
	at := listen(t, "127.0.0.2:7003", echo)
	listen(t, "[::1]:7004", echo)
	dial(t, at) // its near end has a port of the range
	row := reserve(model.TCP, "127.0.0.1", 1024, 65535)
	apply(t, s, wanted(to(model.TCP, "127.0.0.1", 7003, 7003, at))) // our own is not in the way
	hold(t, s, row, row)
	if s.sockets.Len() != 1 {
		t.Errorf("%d sockets for a wide range", s.sockets.Len())
	}
	if got := s.Reserved(); !slices.Equal(got, []desired.Reserve{row}) {
		t.Errorf("reserved: %v", got)
	}
	for _, other := range []desired.Reserve{reserve(model.TCP, "127.0.0.1", 8080), reserve(model.TCP, "0.0.0.0", 65535)} {
		var held *desired.PortTaken
		if err := s.Reserve(t.Context(), []desired.Reserve{other}); !errors.As(err, &held) || held.Port != other.First || held.Who == "" {
			t.Errorf("Reserve across it: %v", err)
		}
	}
	hold(t, s, reserve(model.UDP, "127.0.0.1", 8080), reserve(model.TCP, "127.0.0.3", 8080))
}

// TestReserveOfAnAddressWithoutItsInterface: it is refused like any other that cannot
// be had, and not as a failure of ours.
func TestReserveOfAnAddressWithoutItsInterface(t *testing.T) {
	s := start(t)
	for _, row := range []desired.Reserve{reserve(model.TCP, "fe80::1", 80), reserve(model.UDP, "fe80::1", 1000, 3000)} {
		var held *desired.PortTaken
		if err := s.Reserve(t.Context(), []desired.Reserve{row}); !errors.As(err, &held) || !errors.Is(err, unix.EINVAL) {
			t.Errorf("%s: %v", row, err)
		}
	}
}

func TestReserveOfAnotherHostsAddress(t *testing.T) {
	s := start(t)
	for _, row := range []desired.Reserve{
		reserve(model.TCP, "192.0.2.1", 80), reserve(model.UDP, "2001:db8::1", 80), reserve(model.TCP, "192.0.2.1", 1000, 2000),
	} {
		var held *desired.PortTaken
		err := s.Reserve(t.Context(), []desired.Reserve{row})
		if !errors.As(err, &held) || held.Port != 0 || held.Row != row || !errors.Is(err, unix.EADDRNOTAVAIL) {
			t.Errorf("%s: %v", row, err)
		}
	}
}

func TestReserveTwiceIsOnce(t *testing.T) {
	s := start(t)
	row := reserve(model.TCP, "0.0.0.0", 7000, 7009)
	hold(t, s, row)
	hold(t, s, row, reserve(model.TCP, "::", 7000, 7009))
	if got := s.Reserved(); len(got) != 2 || s.sockets.Len() != 20 {
		t.Errorf("%v with %d sockets", got, s.sockets.Len())
	}
	// A row of the same key that reaches further collides with it.
	var held *desired.PortTaken
	if err := s.Reserve(t.Context(), []desired.Reserve{reserve(model.TCP, "0.0.0.0", 7000, 7010)}); !errors.As(err, &held) {
		t.Errorf("Reserve of a longer row: %v", err)
	}
	if err := s.Release(t.Context(), []desired.Reserve{row, row, reserve(model.UDP, "::", 9)}); err != nil {
		t.Error(err)
	}
	if got := s.Reserved(); len(got) != 1 {
		t.Errorf("left: %v", got)
	}
}

func TestReserveRefusesNonsense(t *testing.T) {
	s := start(t)
	for _, row := range []desired.Reserve{{}, reserve(model.TCP, "::1", 0), reserve(model.TCP, "::1", 9, 8)} {
		if err := s.Reserve(t.Context(), []desired.Reserve{row}); model.KindOf(err) != model.Invalid {
			t.Errorf("%+v: %v", row, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Reserve(ctx, []desired.Reserve{reserve(model.TCP, "::1", 7000)}); !errors.Is(err, context.Canceled) || s.sockets.Len() != 0 {
		t.Errorf("Reserve out of time: %v, %d sockets", err, s.sockets.Len())
	}
}

// TestSCTP: a kernel that has it refuses others; one that lacks it has nothing to
// hold, and that is no failure.
func TestSCTP(t *testing.T) {
	s := start(t)
	hold(t, s, reserve(model.SCTP, "0.0.0.0", 7000), reserve(model.SCTP, "::", 1000, 2000))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)
	if err == unix.EPROTONOSUPPORT {
		if s.sockets.Len() != 0 {
			t.Error("sockets of a protocol that there is not")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 7000}); err != unix.EADDRINUSE {
		t.Errorf("bind: %v", err)
	}
}

// TestFormerConnectionsAreNotInTheWay: what lingers in TIME_WAIT does not keep a
// port from being reserved.
func TestFormerConnectionsAreNotInTheWay(t *testing.T) {
	s := start(t)
	l, err := net.Listen("tcp4", "127.0.0.1:7000")
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, "127.0.0.1:7000")
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	far.Close() // first: the port is the one that lingers
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("not closed")
	}
	c.Close()
	l.Close()
	hold(t, s, reserve(model.TCP, "0.0.0.0", 7000))
}

// TestPortsLeaveFiles: who publishes more ports than there are descriptors for is told,
// and what is held stays.
func TestPortsLeaveFiles(t *testing.T) {
	s := start(t)
	s.sockets.Most = func() int64 { return 10 }
	hold(t, s, reserve(model.TCP, "127.0.0.1", 7000, 7009))
	err := s.Reserve(t.Context(), []desired.Reserve{reserve(model.TCP, "127.0.0.1", 8000)})
	if err == nil || !strings.Contains(err.Error(), "10 host ports are held") {
		t.Errorf("one port more: %v", err)
	}
	hold(t, s, guarded(model.TCP, "127.0.0.1"))
	if n := s.sockets.Len(); n != 10 {
		t.Errorf("%d sockets", n)
	}
	if err := s.Release(t.Context(), []desired.Reserve{reserve(model.TCP, "127.0.0.1", 7000, 7009)}); err != nil {
		t.Fatal(err)
	}
	hold(t, s, reserve(model.TCP, "127.0.0.1", 8000))
}
