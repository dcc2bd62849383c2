package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/limits"
)

// Handed is the pair of sockets that serve one namespace, on their way from one
// Server to another, which may be in another process. Who holds it closes it.
type Handed struct {
	Namespace string
	UDP, TCP  *os.File
}

// Rows returns what the Server serves, in the order of keys: what a successor
// has to be given. It may be called at any time, also after Release.
func (s *Server) Rows() []desired.Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows []desired.Row
	for row := range s.table.Load().rows() {
		rows = append(rows, row)
	}
	for _, l := range slices.Concat(s.released, s.active()) {
		rows = append(rows, l.view.Load().row)
	}
	slices.SortFunc(rows, func(a, b desired.Row) int {
		return a.Key().Compare(b.Key())
	})
	return rows
}

func (s *Server) active() []*listener {
	var out []*listener
	for _, l := range s.listeners {
		out = append(out, l)
	}
	return out
}

// Release stops reading on every socket at once and returns them, for Adopt.
// Queries that arrive from then on wait in the sockets. Those that were read
// before are still answered, through duplicates; see Drain. A Server that was
// released takes no more rows until Adopt is called. A namespace whose sockets cannot be duplicated is
// left out, and the successor opens new ones.
func (s *Server) Release() []Handed {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handedOver = true
	active := s.active()
	var out []Handed
	for _, l := range active {
		// Duplicated first: a listener closes its own when it is done.
		h, err := l.duplicate()
		if err != nil {
			l.log.Error("resolver: sockets cannot be handed over", "op", "resolver.release", "err", err)
		} else {
			out = append(out, h)
		}
		l.stopReading()
	}
	for _, l := range active {
		l.readers.Wait()
	}
	for _, h := range s.adopted { // nobody asked for these here; perhaps there
		out = append(out, h)
	}
	clear(s.adopted)
	clear(s.listeners)
	s.released = append(s.released, active...)
	return out
}

// Drain waits until all that was read before Release is answered, and returns
// ctx's error if that is over first. It takes 5 s at most.
func (s *Server) Drain(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serving.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the last answers: %w", ctx.Err())
	}
}

// Adopt takes over sockets that another Server released. They are kept until a
// row asks for their namespace and then served instead of new ones. Those that
// no row has asked for by the end of the next Resync are closed. A Server that has
// released them itself may adopt them again, if nobody else did.
func (s *Server) Adopt(handed []Handed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handedOver, s.released = false, nil
	for _, h := range handed {
		if old, ok := s.adopted[h.Namespace]; ok {
			old.discard()
		}
		if s.closed {
			h.discard()
		} else {
			s.adopted[h.Namespace] = h
		}
	}
}

// discard closes sockets that nobody wants. Errors have no consequence.
func (h Handed) discard() {
	_ = h.UDP.Close()
	_ = h.TCP.Close()
}

func (s *Server) discardAdopted() {
	for _, h := range s.adopted {
		h.discard()
	}
	clear(s.adopted)
}

// open returns the adopted sockets of a namespace or, without, new ones.
func (s *Server) open(ctx context.Context, namespace string) (net.PacketConn, net.Listener, error) {
	if h, ok := s.adopted[namespace]; ok {
		delete(s.adopted, namespace)
		udp, tcp, err := h.sockets()
		if err == nil {
			return udp, tcp, nil
		}
		s.log.Error("resolver: adopted sockets are of no use", "container", namespace, "op", "resolver.adopt", "err", err)
	}
	return s.openNew(ctx, namespace)
}

// openNew opens sockets, waiting for descriptors if there are none.
func (s *Server) openNew(ctx context.Context, namespace string) (udp net.PacketConn, tcp net.Listener, err error) {
	err = limits.Retry(ctx, func() error {
		udp, tcp, err = s.opener.OpenDNS(ctx, namespace)
		return err
	})
	return udp, tcp, err
}

// sockets turns the files into what listeners serve, and closes them.
func (h Handed) sockets() (net.PacketConn, net.Listener, error) {
	defer h.discard()
	udp, err := net.FilePacketConn(h.UDP)
	if err != nil {
		return nil, nil, err
	}
	tcp, err := net.FileListener(h.TCP)
	if err != nil {
		return nil, nil, errors.Join(err, udp.Close())
	}
	return udp, tcp, nil
}

// stopReading makes both readers end after what they have in hand. It does not
// wait for them. What they have not read stays in the sockets.
func (l *listener) stopReading() {
	l.stop()
	long := time.Unix(1, 0)
	// These fail only on closed sockets, from which nobody reads.
	_ = l.udp.SetReadDeadline(long)
	_ = l.tcp.SetDeadline(long)
}

// duplicate returns copies of the sockets.
func (l *listener) duplicate() (Handed, error) {
	if !l.works() {
		return Handed{}, errors.New("listener is broken")
	}
	udp, err := l.udp.File()
	if err != nil {
		return Handed{}, err
	}
	tcp, err := l.tcp.File()
	if err != nil {
		return Handed{}, errors.Join(err, udp.Close())
	}
	return Handed{l.namespace, udp, tcp}, nil
}

// enlarge gives a socket room for queueSize. Where the limit of the host cannot
// be passed (socket(7), SO_RCVBUFFORCE), it gets what the limit allows.
func enlarge(conn *net.UDPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueSize) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, queueSize)
		}
	})
}
