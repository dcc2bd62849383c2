package userproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/portsocket"
	"github.com/linkspan/linkspan/internal/userproxy/portsteer"
)

// errNotSteered says that the kernel would not lead a range to one socket.
var errNotSteered = errors.New("one socket cannot serve a range of ports: that takes Linux 5.9, and IPv6")

// bindSteered leads a wide row to the proxy by a single socket, that of its first
// port, to which the kernel steers the others.
func (s *Server) bindSteered(p *proxy) error {
	sock, err := s.socketFor(p.row, p.row.First)
	if errors.Is(err, portsocket.ErrUnsupported) {
		return nil // nobody can connect there either
	}
	if err != nil {
		return err
	}
	p.sockets = append(p.sockets, sock)
	if err := sock.Control(tellPort); err != nil {
		return fmt.Errorf("prepare %s: %w", sock.Endpoint, err)
	}
	p.steered = sock
	if err := s.steer(p); err != nil {
		p.steered, p.sockets = nil, nil
		s.table.CloseUnused(sock.Socket)
		return fmt.Errorf("%w: %w", errNotSteered, err)
	}
	return s.open(sock, p)
}

// tellPort makes datagrams say which port they were sent to (linux/in6.h). A
// connection says so by itself, and does not mind.
func tellPort(fd int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVORIGDSTADDR, 1)
}

// steer leads the ports of all steered proxies, and those of one that is not among
// them yet, to their sockets.
func (s *Server) steer(fresh *proxy) error {
	var all []portsteer.Target
	add := func(p *proxy) error {
		return p.steered.Control(func(fd int) error {
			all = append(all, p.targets(fd)...)
			return nil
		})
	}
	for key, p := range s.proxies {
		if p.steered == nil || fresh != nil && fresh.row.Key() == key {
			continue
		}
		if err := add(p); err != nil {
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
func (p *proxy) targets(fd int) []portsteer.Target {
	all := portsteer.Target{Protocol: p.row.Protocol, Host: p.row.Host, First: p.row.First, Last: p.row.Last, Socket: fd}
	if !p.row.Rest {
		return p.below(all)
	}
	one, link := all, all
	one.Host, link.LinkLocal = netip.IPv6Loopback(), true
	return append(p.below(one), p.below(link)...)
}

// below returns a target without the ports from which the host itself sends.
func (p *proxy) below(all portsteer.Target) []portsteer.Target {
	if p.row.Protocol != model.UDP {
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

// replies are the sockets from whose ports a steered proxy answers UDP clients. Each
// is there while a client uses its port.
type replies struct {
	mu sync.Mutex
	of map[uint16]*reply
}

type reply struct {
	socket *socket
	users  int
}

// at returns the socket from which a port of a proxy is answered, for as long as it
// is not given back: the one that received, or one that only sends. It returns nil
// if somebody else has the port.
func (p *proxy) at(received *socket, port uint16) *socket {
	if p.steered != received || port == received.Port {
		return received // it stays as long as the proxy
	}
	p.replies.mu.Lock()
	defer p.replies.mu.Unlock()
	if r := p.replies.of[port]; r != nil {
		r.users++
		return r.socket
	}
	e := received.Endpoint
	e.Port = port
	listening, err := portsocket.Listen(e) // drops all that comes, and nothing does
	if err != nil {
		return nil
	}
	sock := newSocket(listening)
	if p.replies.of == nil {
		p.replies.of = map[uint16]*reply{}
	}
	p.replies.of[port] = &reply{socket: sock, users: 1}
	return sock
}

// keep makes a socket that at returned stay until it is given back once more.
func (p *proxy) keep(sock *socket) {
	p.replies.mu.Lock()
	defer p.replies.mu.Unlock()
	if r := p.replies.of[sock.Port]; r != nil && r.socket == sock {
		r.users++
	}
}

// giveBack ends at and keep; a socket that nobody uses any more is closed.
func (p *proxy) giveBack(sock *socket) {
	p.replies.mu.Lock()
	defer p.replies.mu.Unlock()
	r := p.replies.of[sock.Port]
	if r == nil || r.socket != sock {
		return
	}
	if r.users--; r.users == 0 {
		delete(p.replies.of, sock.Port)
		sock.Close()
	}
}

// receives tells whether a client that was answered from a socket is the proxy's, at
// the socket at: one for every port of a steered proxy.
func (p *proxy) receives(at *socket, from portsocket.Endpoint) bool {
	if p.steered != at {
		return at.Endpoint == from
	}
	return at.Protocol == from.Protocol && at.Addr == from.Addr && p.row.First <= from.Port && from.Port <= p.row.Last
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

// steerable tells whether the proxy is for more ports than are worth a socket each.
// IPv4 is never forwarded so.
func (p *proxy) steerable() bool {
	return int(p.row.Last)-int(p.row.First) >= portsocket.MaxRange && p.row.Host.Is6()
}
