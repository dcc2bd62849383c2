// Package portsocket binds the sockets that hold ports of the host, and keeps the
// table of them: one for each address, port and protocol, for the reservation
// (package hostports) and the proxy (package userproxy) that share it.
//
// It promises:
//
//   - A socket drops all packets but those to the addresses that it was told to
//     admit, from before it is bound on.
//   - It is there as long as a reservation or the proxy needs it, and closed when
//     neither does: its port is free then.
//   - All sockets can be handed over to another process; what arrives in between
//     waits in them.
//
// It must not choose ports, and never reads what arrives. It works in the network
// namespace of the process.
package portsocket

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/hostports/bindguard"
	"github.com/linkspan/linkspan/internal/model"
)

// backlog is how many connections wait to be accepted, for instance while the
// socket changes hands. The kernel lowers it to net.core.somaxconn.
const backlog = 4096

// Endpoint is what a socket is bound to: there is one of each at most.
type Endpoint struct {
	Protocol model.Protocol
	Addr     netip.Addr
	Port     uint16
}

// Wildcard returns the endpoint at all addresses of the family.
func (e Endpoint) Wildcard() Endpoint {
	e.Addr = Unspecified(e.Addr)
	return e
}

// Unspecified returns the address that stands for all of the family of addr.
func Unspecified(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// String returns "tcp [::]:80".
func (e Endpoint) String() string {
	return string(e.Protocol) + " " + netip.AddrPortFrom(e.Addr, e.Port).String()
}

// ErrUnsupported says that the kernel lacks a family or a protocol.
var ErrUnsupported = errors.New("not supported by this kernel")

// Socket holds a port. It drops all packets but those that it was told to admit.
type Socket struct {
	Endpoint
	// Reserved and Proxied say who needs it; guarded by the lock of its table.
	Reserved, Proxied bool
	// BeforeClose, if not nil, is called while the descriptor is still there; guarded
	// as they are.
	BeforeClose func()
	// Broken says that nothing comes from it any more.
	Broken atomic.Bool

	file  *os.File
	raw   syscall.RawConn // of file
	using sync.RWMutex    // held for reading by whoever uses the descriptor
}

// Listen binds a socket that is in no table. It returns ErrUnsupported if the kernel
// has no such sockets.
func Listen(e Endpoint) (*Socket, error) {
	file, err := bind(e)
	if err != nil {
		return nil, err
	}
	return wrap(e, file)
}

// wrap makes a socket of a file, which it owns from then on.
func wrap(e Endpoint, file *os.File) (*Socket, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Socket{Endpoint: e, file: file, raw: raw}, nil
}

// Control runs f on the descriptor. It returns os.ErrClosed if there is none any
// more.
func (s *Socket) Control(f func(fd int) error) error {
	s.using.RLock()
	defer s.using.RUnlock()
	var err error
	if closed := s.raw.Control(func(fd uintptr) { err = f(int(fd)) }); closed != nil {
		return os.ErrClosed
	}
	return err
}

// Close returns when the port is free: closing the file alone would leave it bound
// for as long as somebody uses it.
func (s *Socket) Close() {
	s.using.Lock()
	defer s.using.Unlock()
	_ = s.file.Close() // nothing was written through it
}

// Replace closes the descriptor, so that its port is free, and opens another, which
// drops everything.
func (s *Socket) Replace() error {
	s.using.Lock()
	defer s.using.Unlock()
	_ = s.file.Close() // nothing was written through it
	file, err := bind(s.Endpoint)
	if err != nil {
		return err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	s.file, s.raw = file, raw
	return nil
}

// Admit makes the socket drop all packets but those to the addresses, which are of
// its family; without any it drops everything.
func (s *Socket) Admit(to []netip.Prefix) error {
	return s.Control(func(fd int) error { return attach(fd, onlyTo(to)) })
}

// AdmitAll lets every packet pass.
func (s *Socket) AdmitAll() error { return s.Control(detach) }

// whole tells whether a socket hears what comes.
func (s *Socket) whole() bool {
	if s.Broken.Load() {
		return false
	}
	whole := true
	err := s.Control(func(fd int) error {
		switch s.Protocol {
		case model.TCP:
			listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
			whole = err != nil || listens != 0
		case model.UDP:
			at, err := unix.Getsockname(fd)
			whole = err != nil || portOf(at) == s.Port
		}
		return nil
	})
	return whole && err == nil
}

func portOf(a unix.Sockaddr) uint16 {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return uint16(a.Port)
	case *unix.SockaddrInet6:
		return uint16(a.Port)
	}
	return 0
}

// bind opens a socket that has the port for itself and drops all that comes. It
// returns ErrUnsupported if the kernel has no such sockets.
//
// Connection-oriented sockets also listen: only that keeps others with
// SO_REUSEADDR away, which ours has as well, so that connections of a former
// holder that linger in TIME_WAIT are not in the way.
func bind(e Endpoint) (_ *os.File, err error) {
	family, addr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(e.Port), Addr: e.Addr.As16()})
	if e.Addr.Is4() {
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Port: int(e.Port), Addr: e.Addr.As4()}
	}
	kind, protocol := unix.SOCK_STREAM, unix.IPPROTO_TCP
	switch e.Protocol {
	case model.UDP:
		kind, protocol = unix.SOCK_DGRAM, unix.IPPROTO_UDP
	case model.SCTP:
		protocol = unix.IPPROTO_SCTP
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	switch err {
	case nil:
	case unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT:
		return nil, fmt.Errorf("%s: %w", e, ErrUnsupported)
	default:
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd) // nothing was done with it
		}
	}()
	if err := prepare(fd, e); err != nil {
		return nil, fmt.Errorf("prepare a socket: %w", err)
	}
	if err := bindguard.Pass(fd, func() error { return unix.Bind(fd, addr) }); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	if kind == unix.SOCK_STREAM {
		if err := unix.Listen(fd, backlog); err != nil {
			return nil, os.NewSyscallError("listen", err)
		}
	}
	// Blocking, so that the runtime does not watch thousands of silent sockets.
	return os.NewFile(uintptr(fd), e.String()), nil
}

// prepare sets what has to hold before anything can arrive.
func prepare(fd int, e Endpoint) error {
	err := attach(fd, onlyTo(nil))
	set := func(level, option int) {
		if err == nil {
			err = unix.SetsockoptInt(fd, level, option, 1)
		}
	}
	if e.Protocol != model.UDP {
		set(unix.SOL_SOCKET, unix.SO_REUSEADDR)
	}
	if e.Addr.Is6() {
		set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	}
	if e.Protocol == model.UDP && e.Addr.Is6() {
		set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0) // as below; Linux 4.20
	} else if e.Protocol == model.UDP {
		set(unix.IPPROTO_IP, unix.IP_PKTINFO)
		// What other processes have joined is not for us; without this, it is dropped later.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
	}
	return err
}
