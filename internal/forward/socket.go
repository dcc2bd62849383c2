package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/forward/bindguard"
	"github.com/linkspan/linkspan/internal/model"
)

// name is what a socket is bound to: there is one of each at most.
type name struct {
	protocol model.Protocol
	addr     netip.Addr
	port     uint16
}

// anywhere returns the name for all addresses of the family.
func (n name) anywhere() name {
	n.addr = unspecified(n.addr)
	return n
}

func unspecified(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// String returns "tcp [::]:80".
func (n name) String() string {
	return string(n.protocol) + " " + netip.AddrPortFrom(n.addr, n.port).String()
}

// errLacking says that the kernel lacks a family or a protocol.
var errLacking = errors.New("not supported by this kernel")

// socket holds a port. It drops all packets but those to addresses that lanes
// have. It lives as long as a reservation or a lane needs it.
type socket struct {
	name     name
	file     *os.File
	raw      syscall.RawConn // of file
	using    sync.RWMutex    // held for reading by whoever uses the descriptor
	reserved bool
	broken   atomic.Bool             // nothing comes from it any more; the mender replaces it
	watched  int32                   // by the poller, under this number; 0: not yet
	routes   atomic.Pointer[[]route] // never changed in place: whoever accepts reads them
}

// route is where packets to an address go.
type route struct {
	host netip.Addr // unspecified: any
	lane *lane
}

// wrap makes a socket of a file, which it owns from then on.
func wrap(n name, file *os.File) (*socket, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	s := &socket{name: n, file: file, raw: raw}
	s.routes.Store(&[]route{})
	return s, nil
}

// control runs f on the descriptor. It returns os.ErrClosed if there is none any
// more.
func (s *socket) control(f func(fd int) error) error {
	s.using.RLock()
	defer s.using.RUnlock()
	var err error
	if closed := s.raw.Control(func(fd uintptr) { err = f(int(fd)) }); closed != nil {
		return os.ErrClosed
	}
	return err
}

// close returns when the port is free: closing the file alone would leave it bound
// for as long as somebody uses it.
func (s *socket) close() {
	s.using.Lock()
	defer s.using.Unlock()
	_ = s.file.Close() // nothing was written through it
}

// lead sends what comes to host to a lane; nil sends it nowhere. The filter has
// to follow.
func (s *socket) lead(host netip.Addr, l *lane) {
	var next []route
	for _, r := range *s.routes.Load() {
		if r.host != host {
			next = append(next, r)
		}
	}
	if l != nil {
		next = append(next, route{host, l})
	}
	s.routes.Store(&next)
}

// route returns the lane of exactly this address.
func (s *socket) route(host netip.Addr) *lane {
	for _, r := range *s.routes.Load() {
		if r.host == host {
			return r.lane
		}
	}
	return nil
}

// find returns the lane for what was sent to a local address, or nil.
func (s *socket) find(local netip.Addr) *lane {
	local = local.WithZone("")
	if l := s.route(local); l != nil {
		return l
	}
	if l := s.route(unspecified(local)); l != nil && l.reaches(local) {
		return l
	}
	return nil
}

// filter makes the socket drop what no lane is for. If that cannot arrive, there is
// no program at all: one costs more to set up than the socket itself.
func (s *socket) filter() error {
	var hosts []netip.Prefix
	open := false
	for _, r := range *s.routes.Load() {
		if r.lane.row.Rest && r.host.Is6() {
			hosts = append(hosts, netip.PrefixFrom(netip.IPv6Loopback(), 128), linkLocal)
			continue
		}
		// To which broadcast address of which interface something was sent only the
		// datagram itself says.
		hosts = append(hosts, netip.PrefixFrom(r.host, r.host.BitLen()))
		open = open || r.host.IsUnspecified() || r.host == s.name.addr
	}
	return s.control(func(fd int) error {
		if open || len(hosts) > maxHosts {
			return detach(fd)
		}
		return attach(fd, onlyTo(hosts))
	})
}

// socket returns the socket of a name: the one there is, an adopted one or a new
// one.
func (s *Server) socket(n name) (*socket, error) {
	if sock := s.sockets[n]; sock != nil {
		return sock, nil
	}
	file := s.adopted[n]
	if delete(s.adopted, n); file == nil {
		var err error
		if file, err = bind(n); err != nil {
			return nil, err
		}
	}
	sock, err := wrap(n, file)
	if err != nil {
		return nil, err
	}
	s.sockets[n] = sock
	return sock, nil
}

// dropUnused closes a socket that neither a reservation nor a lane needs, and
// tells whether it is closed.
func (s *Server) dropUnused(sock *socket) bool {
	if s.sockets[sock.name] != sock {
		return true
	}
	if sock.reserved || len(*sock.routes.Load()) > 0 {
		return false
	}
	delete(s.sockets, sock.name)
	if sock.watched != 0 {
		s.pollerOf(sock.name.protocol).remove(sock)
	}
	sock.close()
	return true
}

// bind opens a socket that has the port for itself and drops all that comes. It
// returns errLacking if the kernel has no such sockets.
//
// Connection-oriented sockets also listen: only that keeps others with
// SO_REUSEADDR away, which ours has as well, so that connections of a former
// holder that linger in TIME_WAIT are not in the way.
func bind(n name) (_ *os.File, err error) {
	family, addr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(n.port), Addr: n.addr.As16()})
	if n.addr.Is4() {
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Port: int(n.port), Addr: n.addr.As4()}
	}
	kind, protocol := unix.SOCK_STREAM, unix.IPPROTO_TCP
	switch n.protocol {
	case model.UDP:
		kind, protocol = unix.SOCK_DGRAM, unix.IPPROTO_UDP
	case model.SCTP:
		protocol = unix.IPPROTO_SCTP
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	switch err {
	case nil:
	case unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT:
		return nil, fmt.Errorf("%s: %w", n, errLacking)
	default:
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd) // nothing was done with it
		}
	}()
	if err := prepare(fd, n); err != nil {
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
	return os.NewFile(uintptr(fd), n.String()), nil
}

// prepare sets what has to hold before anything can arrive.
func prepare(fd int, n name) error {
	err := attach(fd, onlyTo(nil))
	set := func(level, option int) {
		if err == nil {
			err = unix.SetsockoptInt(fd, level, option, 1)
		}
	}
	if n.protocol != model.UDP {
		set(unix.SOL_SOCKET, unix.SO_REUSEADDR)
	}
	if n.addr.Is6() {
		set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	}
	if n.protocol == model.UDP && n.addr.Is6() {
		set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO)
	} else if n.protocol == model.UDP {
		set(unix.IPPROTO_IP, unix.IP_PKTINFO)
	}
	return err
}
