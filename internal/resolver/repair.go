package resolver

import (
	"context"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reopenTime bounds one opening of new sockets by the watch.
const reopenTime = 10 * time.Second

// maxRepairPause is the longest pause between two tries to open a listener anew.
const maxRepairPause = time.Minute

// repair is what the watch knows of its tries. It is guarded by Server.mu.
type repair struct {
	next  time.Time // not before
	pause time.Duration
}

// reportBroken has the watch look at a namespace now. If it has too much to do already it
// comes by in its round.
func (s *Server) reportBroken(namespace string) {
	select {
	case s.broken <- namespace:
	default:
	}
}

// works tells whether a listener hears what comes. Somebody who may, the
// administrator or a container with NET_ADMIN, can shut sockets from outside
// (sock_diag(7), SOCK_DESTROY; ss -K): a TCP socket does not listen then, and a UDP
// socket has lost its port without a word to who reads from it.
func (l *listener) works() bool {
	if l.broken.Load() {
		return false
	}
	listens, bound := true, true
	withDescriptor(l.tcp, func(fd int) {
		accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		listens = err != nil || accepts != 0
	})
	withDescriptor(l.udp, func(fd int) {
		at, err := unix.Getsockname(fd)
		four, ok := at.(*unix.SockaddrInet4)
		bound = err != nil || !ok || four.Port != 0
	})
	return listens && bound
}

// withDescriptor calls f with a descriptor, unless that is closed: who closed it knows.
func withDescriptor(c syscall.Conn, f func(fd int)) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// replaceBroken opens sockets in place of broken ones, at longer and longer intervals if
// that fails. The caller holds mu.
func (s *Server) replaceBroken(ctx context.Context, l *listener) {
	if time.Now().Before(l.repair.next) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reopenTime)
	defer cancel()
	if _, err := s.serve(ctx, l.view.Load().row); err != nil {
		l.repair.pause = min(max(2*l.repair.pause, watchInterval), maxRepairPause)
		l.repair.next = time.Now().Add(l.repair.pause)
		l.log.Warn("resolver: listener is still broken", "op", "resolver.reopen", "err", err)
		return
	}
	l.log.Info("resolver: opened another listener in place of a broken one", "op", "resolver.reopen")
}

var (
	_ syscall.Conn = (*net.UDPConn)(nil)
	_ syscall.Conn = (*net.TCPListener)(nil)
)
