package resolver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

// withoutFiles calls f while this process cannot open anything.
func withoutFiles(t *testing.T, f func()) {
	t.Helper()
	var had unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
		t.Fatal(err)
	}
	none := had
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// TestListenerOutlastsALackOfFiles: connections that come while there are no
// descriptors are served when there are some again, and nothing is broken.
func TestListenerOutlastsALackOfFiles(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o)
	apply(t, s, wanted(resolverOn("net"), name("net", "web", "e1", "172.18.0.2")))
	l := s.listeners["box"]
	at := netip.MustParseAddrPort(o.tcp["box"])
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "client")
	defer f.Close()
	withoutFiles(t, func() {
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
			t.Fatal(err)
		}
		await(t, "the lack is noticed", s.outage.Lasts)
		for end := time.Now().Add(maxFaults*faultPause + time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // poll
			if l.broken.Load() {
				t.Fatal("a lack of descriptors is taken for a fault of the listener")
			}
		}
	})
	conn, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	r, _, err := new(dns.Client).ExchangeWithConn(new(dns.Msg).SetQuestion("web.", dns.TypeA), &dns.Conn{Conn: conn})
	if err != nil || upstreamtest.Brief(r) != "NOERROR 172.18.0.2" {
		t.Errorf("the one that waited got %v, %v", r, err)
	}
	if got := upstreamtest.Brief(ask(t, o, "tcp", "web", dns.TypeA)); got != "NOERROR 172.18.0.2" {
		t.Errorf("afterwards: %q", got)
	}
	if s.listeners["box"] != l {
		t.Error("the listener was replaced")
	}
}

// TestBrokenListenerMendsItself: sockets that somebody shuts from outside show in
// Check, and are replaced without being asked for, also if that fails at first.
func TestBrokenListenerMendsItself(t *testing.T) {
	for what, cut := range map[string]func(l *listener) error{
		"TCP is shut": func(l *listener) (err error) {
			withDescriptor(l.tcp, func(fd int) { err = unix.Shutdown(fd, unix.SHUT_RD) })
			return err
		},
		"UDP loses its port": func(l *listener) (err error) {
			withDescriptor(l.udp, func(fd int) { err = unbind(fd) })
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			o := newLoopback()
			s := serverFor(t, o)
			web := name("net", "web", "e1", "172.18.0.2")
			apply(t, s, wanted(resolverOn("net"), web))
			want := stateOf(t, resolverOn("net"), web)
			s.mu.Lock()
			l := s.listeners["box"]
			s.mu.Unlock()
			o.mu.Lock()
			o.refuse = errors.New("not yet")
			o.mu.Unlock()
			if err := cut(l); err != nil {
				t.Fatal(err)
			}
			r, err := s.Check(t.Context(), want)
			if err != nil || len(r.Drift) != 1 || !strings.HasPrefix(r.Drift[0], "listener is broken: resolver box") {
				t.Errorf("check: %q, %v", r.Drift, err)
			}
			await(t, "a try has failed", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return l.repair.pause > 0
			})
			o.mu.Lock()
			o.refuse = nil
			o.mu.Unlock()
			for end := time.Now().Add(5 * watchInterval); ; time.Sleep(10 * time.Millisecond) { // poll
				if r, _ := s.Check(context.Background(), want); len(r.Drift) == 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatal("it is not mended")
				}
			}
			for _, network := range []string{"udp", "tcp"} {
				if got := upstreamtest.Brief(ask(t, o, network, "web", dns.TypeA)); got != "NOERROR 172.18.0.2" {
					t.Errorf("%s: %q", network, got)
				}
			}
		})
	}
}

// unbind takes a socket's port away, as SOCK_DESTROY does (connect(2), AF_UNSPEC).
func unbind(fd int) error {
	var nobody unix.RawSockaddr
	_, _, errno := syscall.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&nobody)), unix.SizeofSockaddrInet4)
	if errno != 0 {
		return errno
	}
	return nil
}
