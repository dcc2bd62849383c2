package userproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/portsocket"
)

// handedFlow is a UDP client on its way to another Server, which may be in another
// process.
type handedFlow struct {
	socket portsocket.Endpoint
	client netip.AddrPort
	local  netip.Addr
	file   *os.File
}

// String is the Name of a portsocket.Handed: "udp [::]:53 [fe80::1%2]:4000 ::1" leads
// a UDP client of "udp [::]:53" to a container.
func (h handedFlow) String() string {
	return fmt.Sprintf("%s %s %s", h.socket, h.client, h.local)
}

// parseHanded reads what handedFlow.String returns.
func parseHanded(text string) (h handedFlow, err error) {
	fields := strings.Split(text, " ")
	if len(fields) != 4 {
		return h, fmt.Errorf("%q is not the name of a socket", text)
	}
	if h.socket, err = portsocket.ParseEndpoint(fields[0] + " " + fields[1]); err != nil {
		return h, err
	}
	h.client, err = netip.ParseAddrPort(fields[2])
	var bad error
	h.local, bad = netip.ParseAddr(fields[3])
	return h, errors.Join(err, bad)
}

// HandOver stops accepting and reading at once and gives away the sockets of UDP
// clients; those that hold ports go with their reservations. What arrives from then on
// waits in them. TCP connections under way stay; see Drain. A Server that has handed
// over takes no rows until Adopt is called; until Drain it goes on steering to the
// sockets that were given away.
func (s *Server) HandOver() []portsocket.Handed {
	s.table.Lock()
	defer s.table.Unlock()
	if s.refusal() != nil {
		return nil
	}
	s.left, s.handedOver = s.rows(), true
	s.stopPolling()
	var out []portsocket.Handed
	for _, p := range s.proxies {
		out = append(out, p.releaseFlows()...)
	}
	// Nobody asked for these here; perhaps there.
	for _, h := range s.flowing {
		out = append(out, portsocket.Handed{Name: h.String(), File: h.file})
	}
	s.retire()
	return out
}

// retire forgets everything but connections under way.
func (s *Server) retire() {
	var busy []*proxy
	for _, p := range s.released {
		if p.conns.Inside() > 0 {
			busy = append(busy, p)
		}
	}
	for _, p := range s.proxies {
		busy = append(busy, p)
	}
	s.released, s.flowing = busy, nil
	clear(s.proxies)
	clear(s.sockets)
}

// releaseFlows ends the proxy's UDP clients here and returns their sockets. A
// client whose socket cannot be duplicated starts anew there.
func (p *proxy) releaseFlows() []portsocket.Handed {
	all := p.flows.all()
	if len(all) == 0 {
		return nil
	}
	var out []portsocket.Handed
	for _, f := range all {
		if file, err := f.upstream.File(); err == nil {
			h := handedFlow{socket: f.socket.Endpoint, client: f.client, local: f.local}
			out = append(out, portsocket.Handed{Name: h.String(), File: file})
		}
	}
	p.flows.close()
	p.work.Wait() // for replies that have been read; a proxy with flows has nothing else
	return out
}

// Drain says that a successor serves, and waits until the connections that were under
// way at HandOver have ended. It returns ctx's error if that is over first; they last
// as long as their ends like, and Close cuts them.
func (s *Server) Drain(ctx context.Context) error {
	s.table.Lock()
	released := s.released
	failed := s.steering.Close()
	s.table.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, p := range released {
			p.work.Wait()
		}
	}()
	select {
	case <-done:
		return failed
	case <-ctx.Done():
		return errors.Join(failed, fmt.Errorf("wait for the last connections: %w", ctx.Err()))
	}
}

// Adopt takes over the sockets of UDP clients that another Server handed over, and makes
// the rows true that it had, Forward and Isolate; their reservations must have been
// adopted before. A Server that has handed over may adopt again, if nobody else did.
// What cannot be served is in the error, as Apply's, and the rest is served
// nevertheless. Sockets that no row asked for are kept until the end of the next
// Resync. Adopt closes what it cannot use.
func (s *Server) Adopt(ctx context.Context, handed []portsocket.Handed, rows []desired.Row) error {
	s.table.Lock()
	defer s.table.Unlock()
	if s.closed {
		for _, h := range handed {
			_ = h.File.Close() // nothing was written through it
		}
		return errClosed()
	}
	s.handedOver, s.left = false, nil
	failures := s.receive(handed)
	for _, row := range rows {
		s.internals.apply([]desired.Delta{{New: row}})
	}
	for _, row := range rows {
		if row, ok := row.(desired.Forward); ok {
			if _, err := s.serve(ctx, row); err != nil {
				failures = append(failures, &desired.Failure{Key: row.Key(), Err: err})
			}
		}
	}
	s.resteer()
	return errors.Join(append(failures, s.shut())...)
}

// receive sorts what was handed over.
func (s *Server) receive(handed []portsocket.Handed) (failures []error) {
	for _, h := range handed {
		one, err := parseHanded(h.Name)
		if err != nil {
			_ = h.File.Close() // nothing was written through it
			failures = append(failures, err)
			continue
		}
		one.file = h.File
		s.flowing = append(s.flowing, one)
	}
	return failures
}

// shut closes to everybody what is open to those that no proxy is for. Adopted
// sockets are not before their proxies are there: what arrives meanwhile waits.
func (s *Server) shut() error {
	var failed []error
	for sock := range s.table.All() {
		if !sock.Proxied {
			failed = append(failed, sock.Admit(nil))
		}
	}
	return errors.Join(failed...)
}

// resumeFlows lets the adopted clients of a proxy at a socket go on.
func (s *Server) resumeFlows(sock *socket, p *proxy) {
	var rest []handedFlow
	for _, h := range s.flowing {
		if p.receives(sock, h.socket) && sock.find(h.local) == p {
			if at := p.at(sock, h.socket.Port); at != nil {
				p.resume(at, h)
				p.giveBack(at)
			} else {
				_ = h.file.Close() // it starts anew
			}
		} else {
			rest = append(rest, h)
		}
	}
	s.flowing = rest
}

// resume serves an adopted client, unless it led elsewhere: then it starts anew
// with its next datagram.
func (p *proxy) resume(sock *socket, h handedFlow) {
	defer h.file.Close() //nolint:errcheck // FileConn has a duplicate
	conn, err := net.FileConn(h.file)
	if err != nil {
		return
	}
	upstream, ok := conn.(*net.UDPConn)
	if !ok || upstream.RemoteAddr().(*net.UDPAddr).AddrPort() != p.target(sock.Port) {
		_ = conn.Close() // nothing was written through it
		return
	}
	p.begin(flowKey{sock, h.client, h.local}, upstream)
}

// discardFlows closes what nobody wants.
func (s *Server) discardFlows() {
	for _, h := range s.flowing {
		_ = h.file.Close() // nothing was written through it
	}
	s.flowing = nil
}
