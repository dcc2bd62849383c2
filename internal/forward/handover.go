package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// Handed is a socket on its way from one Server to another, which may be in
// another process. Who holds it closes the File.
type Handed struct {
	// Name says what the socket is, for Adopt: "tcp [::]:80" holds a port,
	// "udp [::]:53 [fe80::1%2]:4000 ::1" leads a UDP client of one to a container.
	Name string
	File *os.File
}

// handedFlow is a UDP client on its way.
type handedFlow struct {
	socket name
	client netip.AddrPort
	local  netip.Addr
	file   *os.File
}

// String is the Name of a Handed.
func (h handedFlow) String() string {
	return fmt.Sprintf("%s %s %s", h.socket, h.client, h.local)
}

// parseHanded reads the Name of a Handed. Without a client it is a socket that
// holds a port.
func parseHanded(text string) (h handedFlow, err error) {
	fields := strings.Split(text, " ")
	if len(fields) != 2 && len(fields) != 4 {
		return h, fmt.Errorf("%q is not the name of a socket", text)
	}
	at, err := netip.ParseAddrPort(fields[1])
	if err != nil {
		return h, err
	}
	h.socket = name{model.Protocol(fields[0]), at.Addr(), at.Port()}
	switch h.socket.protocol {
	case model.TCP, model.UDP, model.SCTP:
	default:
		return h, fmt.Errorf("%q is of an unknown protocol", text)
	}
	if len(fields) == 4 {
		h.client, err = netip.ParseAddrPort(fields[2])
		var bad error
		h.local, bad = netip.ParseAddr(fields[3])
		err = errors.Join(err, bad)
	}
	return h, err
}

// Release stops accepting and reading at once and gives away every socket: those
// that hold ports, and those of UDP clients. What arrives from then on waits in
// them. TCP connections under way stay; see Drain. A Server that was released
// takes no rows until Adopt is called; until Drain it goes on guarding what it had,
// and steering to the sockets that it gave away.
func (s *Server) Release() []Handed {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.away || s.closed {
		return nil
	}
	s.left, s.away = s.rows(), true
	s.stopPolling()
	var out []Handed
	for _, l := range s.lanes {
		out = append(out, l.releaseFlows()...)
	}
	for n, sock := range s.sockets {
		if sock.broken.Load() {
			_ = sock.file.Close() // the successor opens another; nothing was written through it
			continue
		}
		out = append(out, Handed{n.String(), sock.file})
	}
	// Nobody asked for these here; perhaps there.
	for n, file := range s.adopted {
		out = append(out, Handed{n.String(), file})
	}
	for _, h := range s.flowing {
		out = append(out, Handed{h.String(), h.file})
	}
	s.retire()
	return out
}

// retire forgets everything but connections under way.
func (s *Server) retire() {
	var busy []*lane
	for _, l := range s.released {
		if l.conns.Inside() > 0 {
			busy = append(busy, l)
		}
	}
	for _, l := range s.lanes {
		busy = append(busy, l)
	}
	s.released, s.flowing = busy, nil
	clear(s.lanes)
	clear(s.reserves)
	clear(s.sockets)
	clear(s.adopted)
}

// releaseFlows ends the lane's UDP clients here and returns their sockets. A
// client whose socket cannot be duplicated starts anew there.
func (l *lane) releaseFlows() []Handed {
	all := l.flows.all()
	if len(all) == 0 {
		return nil
	}
	var out []Handed
	for _, f := range all {
		if file, err := f.upstream.File(); err == nil {
			h := handedFlow{socket: f.socket.name, client: f.client, local: f.local}
			out = append(out, Handed{h.String(), file})
		}
	}
	l.flows.close()
	l.work.Wait() // for replies that have been read; a lane with flows has nothing else
	return out
}

// Drain says that a successor serves, and guards what has to be, and waits until the
// connections that were under way at Release have ended. It returns ctx's error if that is over first; they last as long as their ends like,
// and Close cuts them.
func (s *Server) Drain(ctx context.Context) error {
	s.turn.Lock()
	released := s.released
	failed := errors.Join(s.guard.Close(), s.steering.Close())
	s.turn.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, l := range released {
			l.work.Wait()
		}
	}()
	select {
	case <-done:
		return failed
	case <-ctx.Done():
		return errors.Join(failed, fmt.Errorf("wait for the last connections: %w", ctx.Err()))
	}
}

// Adopt takes over the sockets that another Server released, and makes the rows
// true that it had, with exactly these sockets. A Server that has released them
// itself may adopt them again, if nobody else did. What cannot be served is in the
// error, as Apply's, and the rest is served nevertheless. Reservations without
// sockets are taken on as they are. Sockets that no row asked for are kept until
// the end of the next Resync. Adopt closes what it cannot use.
func (s *Server) Adopt(ctx context.Context, handed []Handed, rows []desired.Row) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.closed {
		for _, h := range handed {
			_ = h.File.Close() // nothing was written through it
		}
		return errClosed()
	}
	s.away, s.left = false, nil
	failures := s.receive(handed)
	fail := func(row desired.Row, err error) {
		if err != nil {
			failures = append(failures, &desired.Failure{Key: row.Key(), Err: err})
		}
	}
	for _, row := range rows {
		if r, ok := row.(desired.Reserve); !ok {
			continue
		} else if wide(r) {
			s.reserves[r.Key()] = &reservation{row: r} // guarded below, once for all
		} else {
			_, err := s.claim(ctx, r)
			fail(row, err)
		}
	}
	s.fence()
	for _, row := range rows {
		if r, ok := row.(desired.Forward); ok {
			_, err := s.serve(ctx, r)
			fail(row, err)
		}
	}
	s.resteer()
	return errors.Join(append(failures, s.shut())...)
}

// receive sorts what was handed over.
func (s *Server) receive(handed []Handed) (failures []error) {
	for _, h := range handed {
		one, err := parseHanded(h.Name)
		if err != nil {
			_ = h.File.Close() // nothing was written through it
			failures = append(failures, err)
			continue
		}
		one.file = h.File
		if one.client.IsValid() {
			s.flowing = append(s.flowing, one)
			continue
		}
		if twin := s.adopted[one.socket]; twin != nil {
			_ = twin.Close() // as above
		}
		s.adopted[one.socket] = h.File
	}
	return failures
}

// shut closes to everybody what is open to those that no lane is for. Adopted
// sockets are not before their lanes are there: what arrives meanwhile waits.
func (s *Server) shut() error {
	var failed []error
	for _, sock := range s.sockets {
		if len(*sock.routes.Load()) == 0 {
			failed = append(failed, sock.filter())
		}
	}
	return errors.Join(failed...)
}

// resumeFlows lets the adopted clients of a lane at a socket go on.
func (s *Server) resumeFlows(sock *socket, l *lane) {
	var rest []handedFlow
	for _, h := range s.flowing {
		if l.receives(sock, h.socket) && sock.find(h.local) == l {
			if at := l.at(sock, h.socket.port); at != nil {
				l.resume(at, h)
				l.giveBack(at)
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
func (l *lane) resume(sock *socket, h handedFlow) {
	defer h.file.Close() //nolint:errcheck // FileConn has a duplicate
	conn, err := net.FileConn(h.file)
	if err != nil {
		return
	}
	upstream, ok := conn.(*net.UDPConn)
	if !ok || upstream.RemoteAddr().(*net.UDPAddr).AddrPort() != l.target(sock.name.port) {
		_ = conn.Close() // nothing was written through it
		return
	}
	l.begin(flowKey{sock, h.client, h.local}, upstream)
}

// discardAdopted closes what nobody wants.
func (s *Server) discardAdopted() {
	for _, file := range s.adopted {
		_ = file.Close() // nothing was written through it
	}
	for _, h := range s.flowing {
		_ = h.file.Close() // nothing was written through it
	}
	clear(s.adopted)
	s.flowing = nil
}
