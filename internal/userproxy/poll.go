package userproxy

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/model"
)

// poller tells when something arrived at any of many sockets: one goroutine for
// all of them, so that a range of thousands of ports costs no goroutine and no
// buffer for each.
type poller struct {
	file   *os.File // epoll(7); itself watched by the runtime, so that no thread waits
	raw    syscall.RawConn
	handle func(*socket) error // takes what is there, but not endlessly
	lack   *limits.Outage
	fail   func(*socket, error) // deals with a socket that is broken
	quit   chan struct{}
	ended  sync.WaitGroup

	mu      sync.RWMutex
	sockets map[int32]*socket
	last    int32
}

// polling returns the poller for the sockets of a protocol.
func (s *Server) polling(protocol model.Protocol) (*poller, error) {
	p := s.pollerOf(protocol)
	if p != nil {
		return p, nil
	}
	handle := s.accept
	if protocol == model.UDP {
		handle = newReceiver().receive
	}
	p, err := newPoller(handle)
	if err != nil {
		return nil, fmt.Errorf("watch sockets: %w", err)
	}
	p.lack, p.fail = &s.outage, s.fail
	s.spare.Keep()
	p.ended.Go(p.run)
	if protocol == model.UDP {
		s.udp = p
	} else {
		s.tcp = p
	}
	return p, nil
}

func (s *Server) pollerOf(protocol model.Protocol) *poller {
	if protocol == model.UDP {
		return s.udp
	}
	return s.tcp
}

// stopPolling returns when nothing is read from any socket any more.
func (s *Server) stopPolling() {
	for _, p := range []*poller{s.tcp, s.udp} {
		if p != nil {
			p.stop()
		}
	}
	s.tcp, s.udp = nil, nil
}

func newPoller(handle func(*socket) error) (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd) // nothing was done with it
		return nil, err
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll"), handle: handle, quit: make(chan struct{}), sockets: map[int32]*socket{}}
	p.raw, err = p.file.SyscallConn()
	return p, err
}

// add watches a socket, which must not block from then on.
func (p *poller) add(s *socket) error {
	if s.watched != 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.last++; p.last <= 0 || p.sockets[p.last] != nil; p.last++ {
	}
	err := s.Control(func(fd int) error {
		if err := unix.SetNonblock(fd, true); err != nil {
			return err
		}
		return p.change(unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: p.last})
	})
	if err != nil {
		return fmt.Errorf("watch %s: %w", s.Endpoint, err)
	}
	s.watched, p.sockets[p.last] = p.last, s
	return nil
}

// mute makes a socket be passed over from now on: it has failed, and would be
// reported for ever.
func (p *poller) mute(s *socket) {
	// It fails only if the socket is not watched.
	_ = s.Control(func(fd int) error { return p.change(unix.EPOLL_CTL_DEL, fd, nil) })
}

// remove ends add. It must come before the socket is closed: a descriptor in
// another process would keep it in the set.
func (p *poller) remove(s *socket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Both fail only if the socket is closed, and then it is not watched.
	_ = s.Control(func(fd int) error { return p.change(unix.EPOLL_CTL_DEL, fd, nil) })
	delete(p.sockets, s.watched)
	s.watched = 0
}

func (p *poller) change(op, fd int, event *unix.EpollEvent) error {
	var err error
	if closed := p.raw.Control(func(epoll uintptr) { err = unix.EpollCtl(int(epoll), op, fd, event) }); closed != nil {
		return closed
	}
	return err
}

// stop returns when run has ended. Nothing is watched any more then.
func (p *poller) stop() {
	close(p.quit)
	_ = p.file.Close() // wakes run
	p.ended.Wait()
	for _, s := range p.sockets {
		s.watched = 0
	}
}

func (p *poller) run() {
	events := make([]unix.EpollEvent, maxBurst)
	for {
		n, err := p.wait(events)
		select {
		case <-p.quit:
			return
		default:
		}
		for _, e := range events[:max(n, 0)] {
			p.mu.RLock()
			s := p.sockets[e.Fd]
			p.mu.RUnlock()
			if s == nil {
				continue // removed meanwhile
			}
			switch failed := p.handle(s); {
			case limits.Scarce(failed):
				err = failed
			case failed != nil:
				p.mute(s)
				p.fail(s, failed)
			}
		}
		if err != nil && !p.lack.Wait(p.quit, err) {
			return
		}
	}
}

// wait returns how many of events have happened: one at least, unless it fails.
func (p *poller) wait(events []unix.EpollEvent) (n int, err error) {
	closed := p.raw.Read(func(epoll uintptr) bool {
		n, err = unix.EpollWait(int(epoll), events, 0)
		return n != 0
	})
	if closed != nil {
		return 0, closed
	}
	if err == unix.EINTR {
		err = nil
	}
	return n, err
}
