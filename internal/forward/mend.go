package forward

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// fail says that nothing will come from a socket any more, though nobody closed it:
// somebody outside has shut it (sock_diag(7), SOCK_DESTROY; ss -K). Another is opened
// in its place.
func (s *Server) fail(sock *socket, err error) {
	if sock.broken.Swap(true) {
		return
	}
	s.log.Error("listener is broken, another will be opened", "op", "forward.listen", "socket", sock.name.String(), "err", err)
	s.broken.Add(1)
	if s.mending.CompareAndSwap(false, true) {
		s.serving.Go(s.mend)
	}
}

// mend opens broken sockets anew until there is none, at longer and longer intervals.
// It never waits for the turn, which whoever waits for it, Close for one, may have.
func (s *Server) mend() {
	for pause := mendFirst; ; pause = min(2*pause, mendLast) {
		select {
		case <-s.quit:
			s.mending.Store(false)
			return
		case <-time.After(pause):
		}
		if s.tryMending() {
			s.mending.Store(false)
			// One may have failed since.
			if s.broken.Load() == 0 || !s.mending.CompareAndSwap(false, true) {
				return
			}
			pause = mendFirst
		}
	}
}

// tryMending tells whether there is nothing left to do.
func (s *Server) tryMending() bool {
	if !s.turn.TryLock() {
		return false
	}
	defer s.turn.Unlock()
	s.broken.Store(0)
	if s.closed || s.away {
		return true
	}
	for _, err := range s.mendAll(nil) {
		s.log.Warn("listener is still broken", "op", "forward.mend", "err", err)
		s.broken.Add(1)
	}
	return s.broken.Load() == 0
}

// unwhole returns the sockets to which nothing comes any more, in the order of names.
func (s *Server) unwhole() []*socket {
	var out []*socket
	for _, sock := range s.sockets {
		if !sock.whole() {
			out = append(out, sock)
		}
	}
	slices.SortFunc(out, func(a, b *socket) int { return cmp.Compare(a.name.String(), b.name.String()) })
	return out
}

// mendAll opens sockets in place of all that are not whole. It notes in report, unless
// that is nil, what it did.
func (s *Server) mendAll(report *desired.Report) (failures []error) {
	steered := false
	for _, sock := range s.unwhole() {
		if err := s.reopen(sock); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", sock.name, err))
			continue
		}
		s.log.Info("opened another listener in place of a broken one", "op", "forward.mend", "socket", sock.name.String())
		if report != nil {
			report.Drift = append(report.Drift, faulty+sock.name.String())
			report.Writes++
		}
		for _, l := range s.lanes {
			steered = steered || l.steered == sock
		}
	}
	if steered {
		s.resteer()
	}
	return failures
}

// reopen makes a socket a new one, of the same name, for whoever uses it.
func (s *Server) reopen(sock *socket) error {
	p := s.pollerOf(sock.name.protocol)
	if sock.watched != 0 {
		p.remove(sock)
	}
	sock.broken.Store(true) // until it is whole
	if err := sock.replace(); err != nil {
		return err
	}
	for _, l := range s.lanes {
		if l.steered == sock {
			if err := sock.control(tellPort); err != nil {
				return err
			}
		}
	}
	if len(*sock.routes.Load()) > 0 {
		if err := sock.filter(); err != nil {
			return err
		}
		p, err := s.polling(sock.name.protocol)
		if err != nil {
			return err
		}
		if err := p.add(sock); err != nil {
			return err
		}
	}
	sock.broken.Store(false)
	return nil
}

// replace closes the descriptor, so that its port is free, and opens another.
func (s *socket) replace() error {
	s.using.Lock()
	defer s.using.Unlock()
	_ = s.file.Close() // nothing was written through it
	file, err := bind(s.name)
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

// whole tells whether a socket hears what comes.
func (s *socket) whole() bool {
	if s.broken.Load() {
		return false
	}
	whole := true
	err := s.control(func(fd int) error {
		switch s.name.protocol {
		case model.TCP:
			listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
			whole = err != nil || listens != 0
		case model.UDP:
			at, err := unix.Getsockname(fd)
			whole = err != nil || fromSockaddr(at).Port() == s.name.port
		}
		return nil
	})
	return whole && err == nil
}
