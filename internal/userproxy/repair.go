package userproxy

import (
	"fmt"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
)

// fail says that nothing will come from a socket any more, though nobody closed it:
// somebody outside has shut it (sock_diag(7), SOCK_DESTROY; ss -K). Another is opened
// in its place.
func (s *Server) fail(sock *socket, err error) {
	if sock.Broken.Swap(true) {
		return
	}
	s.log.Error("listener is broken, another will be opened", "op", "forward.listen", "socket", sock.String(), "err", err)
	s.broken.Add(1)
	if s.repairing.CompareAndSwap(false, true) {
		s.serving.Go(s.repair)
	}
}

// repair opens broken sockets anew until there is none, at longer and longer intervals.
// It never waits for the lock of the table, which whoever waits for it, Close for one,
// may have.
func (s *Server) repair() {
	for pause := repairFirst; ; pause = min(2*pause, repairLast) {
		select {
		case <-s.quit:
			s.repairing.Store(false)
			return
		case <-time.After(pause):
		}
		if s.tryRepair() {
			s.repairing.Store(false)
			// One may have failed since.
			if s.broken.Load() == 0 || !s.repairing.CompareAndSwap(false, true) {
				return
			}
			pause = repairFirst
		}
	}
}

// tryRepair tells whether there is nothing left to do.
func (s *Server) tryRepair() bool {
	if !s.table.TryLock() {
		return false
	}
	defer s.table.Unlock()
	s.broken.Store(0)
	if s.refusal() != nil {
		return true
	}
	for _, err := range s.repairAll(nil) {
		s.log.Warn("listener is still broken", "op", "forward.mend", "err", err)
		s.broken.Add(1)
	}
	return s.broken.Load() == 0
}

// repairAll opens sockets in place of all that are broken, also those that only hold a
// port. It notes in report, unless that is nil, what it did.
func (s *Server) repairAll(report *desired.Report) (failures []error) {
	steered := false
	for _, sock := range s.table.Broken() {
		if err := s.reopen(s.socketOf(sock)); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", sock, err))
			continue
		}
		s.log.Info("opened another listener in place of a broken one", "op", "forward.mend", "socket", sock.String())
		if report != nil {
			report.Drift = append(report.Drift, faulty+sock.String())
			report.Writes++
		}
		for _, p := range s.proxies {
			steered = steered || p.steered != nil && p.steered.Socket == sock
		}
	}
	if steered {
		s.resteer()
	}
	return failures
}

// reopen makes a socket a new one, of the same name, for whoever uses it.
func (s *Server) reopen(sock *socket) error {
	if sock.watched != 0 {
		s.pollerOf(sock.Protocol).remove(sock)
	}
	sock.Broken.Store(true) // until it is whole
	if err := sock.Replace(); err != nil {
		return err
	}
	for _, p := range s.proxies {
		if p.steered == sock {
			if err := sock.Control(tellPort); err != nil {
				return err
			}
		}
	}
	if sock.Proxied {
		if err := sock.filter(); err != nil {
			return err
		}
		watch, err := s.polling(sock.Protocol)
		if err != nil {
			return err
		}
		if err := watch.add(sock); err != nil {
			return err
		}
	}
	sock.Broken.Store(false)
	return nil
}
