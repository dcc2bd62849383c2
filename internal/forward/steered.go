package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/forward/portsteer"
	"github.com/linkspan/linkspan/internal/model"
)

// errNotSteered says that the kernel would not lead a range to one socket.
var errNotSteered = errors.New("one socket cannot serve a range of ports: that takes Linux 5.9, and IPv6")

// laySteered leads a wide row to the lane by a single socket, that of its first
// port, to which the kernel steers the others.
func (s *Server) laySteered(l *lane) error {
	sock, err := s.socketFor(l.row, l.row.First)
	if errors.Is(err, errLacking) {
		return nil // nobody can connect there either
	}
	if err != nil {
		return err
	}
	l.sockets = append(l.sockets, sock)
	if err := sock.control(tellPort); err != nil {
		return fmt.Errorf("prepare %s: %w", sock.name, err)
	}
	l.steered = sock
	if err := s.steer(l); err != nil {
		l.steered, l.sockets = nil, nil
		s.dropUnused(sock)
		return fmt.Errorf("%w: %w", errNotSteered, err)
	}
	return s.open(sock, l)
}

// tellPort makes datagrams say which port they were sent to (linux/in6.h). A
// connection says so by itself, and does not mind.
func tellPort(fd int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVORIGDSTADDR, 1)
}

// steer leads the ports of all steered lanes, and those of one that is not among
// them yet, to their sockets.
func (s *Server) steer(fresh *lane) error {
	var all []portsteer.Target
	add := func(l *lane) error {
		return l.steered.control(func(fd int) error {
			all = append(all, l.targets(fd)...)
			return nil
		})
	}
	for key, l := range s.lanes {
		if l.steered == nil || fresh != nil && fresh.row.Key() == key {
			continue
		}
		if err := add(l); err != nil {
			return err
		}
	}
	if fresh != nil {
		if err := add(fresh); err != nil {
			return err
		}
	}
	return s.steering.Set(all)
}

// resteer follows a change that cannot be refused any more. What is steered to a
// socket that is closed goes nowhere, so that a failure does no harm.
func (s *Server) resteer() {
	if err := s.steer(nil); err != nil {
		s.log.Warn("ports of a former forward are still steered", "op", "forward.apply", "err", err)
	}
}

// targets returns what the kernel is to steer to a socket. Datagrams to the ports
// from which the host itself sends are left alone: an answer that the host waits
// for, on a socket that is not connected, cannot be told from a client's.
func (l *lane) targets(fd int) []portsteer.Target {
	all := portsteer.Target{Protocol: l.row.Protocol, Host: l.row.Host, First: l.row.First, Last: l.row.Last, Socket: fd}
	if !l.row.Rest {
		return l.below(all)
	}
	one, link := all, all
	one.Host, link.LinkLocal = netip.IPv6Loopback(), true
	return append(l.below(one), l.below(link)...)
}

// below returns a target without the ports from which the host itself sends.
func (l *lane) below(all portsteer.Target) []portsteer.Target {
	if l.row.Protocol != model.UDP {
		return []portsteer.Target{all}
	}
	low, high := localPorts()
	var out []portsteer.Target
	if all.First < low {
		below := all
		below.Last = min(all.Last, low-1)
		out = append(out, below)
	}
	if all.Last > high {
		above := all
		above.First = max(all.First, high+1)
		out = append(out, above)
	}
	return out
}

// localPorts returns the ports that the kernel chooses from for the near end of
// connections, both families; all of them if it does not tell.
func localPorts() (low, high uint16) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Fscan(strings.NewReader(string(text)), &low, &high)
	}
	if err != nil || low > high {
		return 0, 65535
	}
	return low, high
}

// replies are the sockets from whose ports a steered lane answers UDP clients. Each
// is there while a client uses its port.
type replies struct {
	mu sync.Mutex
	of map[uint16]*reply
}

type reply struct {
	socket *socket
	users  int
}

// at returns the socket from which a port of a lane is answered, for as long as it
// is not given back: the one that received, or one that only sends. It returns nil
// if somebody else has the port.
func (l *lane) at(received *socket, port uint16) *socket {
	if l.steered != received || port == received.name.port {
		return received // it stays as long as the lane
	}
	l.replies.mu.Lock()
	defer l.replies.mu.Unlock()
	if r := l.replies.of[port]; r != nil {
		r.users++
		return r.socket
	}
	n := received.name
	n.port = port
	file, err := bind(n) // drops all that comes, and nothing does
	if err != nil {
		return nil
	}
	sock, err := wrap(n, file)
	if err != nil {
		return nil
	}
	if l.replies.of == nil {
		l.replies.of = map[uint16]*reply{}
	}
	l.replies.of[port] = &reply{socket: sock, users: 1}
	return sock
}

// keep makes a socket that at returned stay until it is given back once more.
func (l *lane) keep(sock *socket) {
	l.replies.mu.Lock()
	defer l.replies.mu.Unlock()
	if r := l.replies.of[sock.name.port]; r != nil && r.socket == sock {
		r.users++
	}
}

// giveBack ends at and keep; a socket that nobody uses any more is closed.
func (l *lane) giveBack(sock *socket) {
	l.replies.mu.Lock()
	defer l.replies.mu.Unlock()
	r := l.replies.of[sock.name.port]
	if r == nil || r.socket != sock {
		return
	}
	if r.users--; r.users == 0 {
		delete(l.replies.of, sock.name.port)
		sock.close()
	}
}

// receives tells whether a client that was answered from a socket is the lane's, at
// the socket at: one for every port of a steered lane.
func (l *lane) receives(at *socket, from name) bool {
	if l.steered != at {
		return at.name == from
	}
	return at.name.protocol == from.protocol && at.name.addr == from.addr && l.row.First <= from.port && from.port <= l.row.Last
}

// portOf returns the port that a datagram was sent to, from its control messages
// (struct sockaddr_in6); false for a socket that does not ask for it.
func portOf(control []byte) (uint16, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_ORIGDSTADDR && len(m.Data) >= 4 {
			return uint16(m.Data[2])<<8 | uint16(m.Data[3]), true
		}
	}
	return 0, false
}

// steerable tells whether the lane is for more ports than are worth a socket each.
// IPv4 is never forwarded so.
func (l *lane) steerable() bool {
	return int(l.row.Last)-int(l.row.First) >= maxHeldPorts && l.row.Host.Is6()
}
