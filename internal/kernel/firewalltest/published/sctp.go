package published

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
	"github.com/linkspan/linkspan/internal/model"
)

// SCTP needs a kernel with SCTP sockets; translation alone every kernel has.
func SCTP(t *testing.T, backend firewalltest.Backend) {
	s := NewHost(t, backend, false,
		firewalltest.Publish(model.SCTP, "0.0.0.0", [2]uint16{7000, 7000}, "10.1.0.11", 7001),
		firewalltest.Publish(model.SCTP, "::", [2]uint16{7000, 7000}, "fd01::11", 7001))
	serveSCTP(t, s.Web, 7001)
	for _, address := range []string{"192.0.2.1", "2001:db8::1"} {
		if got := askSCTP(t, s.Out, netip.MustParseAddr(address), 7000); got != "hello" {
			t.Errorf("%s from outside: %q", address, got)
		}
	}
	if got := askSCTP(t, s.Host, netip.MustParseAddr("127.0.0.1"), 7000); got != "hello" {
		t.Errorf("localhost: %q", got)
	}
}

// socketSCTP opens a one-to-one style socket (RFC 6458) whose calls end in time.
func socketSCTP(t *testing.T, n *namespaces.Namespace, patience unix.Timeval) (fd int) {
	t.Helper()
	var err error
	n.Do(func() error {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		return nil
	})
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		t.Skip("this kernel has no SCTP")
	}
	err = errors.Join(err,
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// serveSCTP greets every client until the test ends.
func serveSCTP(t *testing.T, n *namespaces.Namespace, port int) {
	t.Helper()
	fd := socketSCTP(t, n, unix.Timeval{Usec: 50000})
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet6{Port: port}), unix.Listen(fd, 5)); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if client, _, err := unix.Accept(fd); err == nil {
				_, _ = unix.Write(client, []byte("hello")) // the client says if it is missing
				unix.Close(client)
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		unix.Close(fd)
	})
}

func askSCTP(t *testing.T, n *namespaces.Namespace, host netip.Addr, port int) string {
	t.Helper()
	fd := socketSCTP(t, n, unix.Timeval{Sec: 5})
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet6{Port: port, Addr: host.As16()}); err != nil {
		t.Errorf("connect to %s: %v", host, err)
		return ""
	}
	b := make([]byte, 100)
	size, err := unix.Read(fd, b)
	if err != nil {
		t.Errorf("read from %s: %v", host, err)
		return ""
	}
	return string(b[:size])
}
