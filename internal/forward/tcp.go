package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// accept takes the connections that wait at a socket.
func (s *Server) accept(sock *socket) error {
	for range maxBurst {
		var fd int
		err := sock.control(func(listening int) (err error) {
			fd, _, err = unix.Accept4(listening, unix.SOCK_CLOEXEC)
			return err
		})
		switch {
		case err == nil:
			s.admit(sock, fd)
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED):
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, os.ErrClosed):
			return nil
		default:
			return os.NewSyscallError("accept", err)
		}
	}
	return nil
}

// admit gives a connection to the lane of its local address, or resets it.
func (s *Server) admit(sock *socket, fd int) {
	local := localAddr(fd)
	l := sock.find(local.Addr())
	if !local.IsValid() || l == nil || !l.conns.enter() {
		reset(fd)
		return
	}
	if !s.conns.enter() {
		l.conns.leave()
		reset(fd)
		return
	}
	l.run(func() {
		defer l.conns.leave()
		defer s.conns.leave()
		l.carry(fd, l.target(local.Port()))
	})
}

// localAddr returns what the client has connected to, which need not be what the
// socket is bound to.
func localAddr(fd int) netip.AddrPort {
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	local := fromSockaddr(addr)
	return netip.AddrPortFrom(local.Addr().WithZone(""), local.Port())
}

// reset closes a connection in a way that the other end sees as a failure.
func reset(fd int) {
	// There is nothing to do about errors: it is being thrown away.
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(fd)
}

// carry connects to the container and copies both ways until both are done.
func (l *lane) carry(fd int, to netip.AddrPort) {
	client, err := connection(fd)
	if err != nil {
		return
	}
	defer context.AfterFunc(l.ctx, func() { abort(client) })()
	keepAlive := net.KeepAliveConfig{Enable: true, Idle: idleTime, Interval: probeTime, Count: probes}
	d := net.Dialer{Timeout: dialTime, KeepAliveConfig: keepAlive}
	conn, err := d.DialContext(l.ctx, "tcp", to.String())
	if err != nil {
		abort(client)
		return
	}
	server := conn.(*net.TCPConn)
	defer context.AfterFunc(l.ctx, func() { abort(server) })()
	if client.SetKeepAliveConfig(keepAlive) != nil { // it is closed
		abort(server)
		return
	}
	join(client, server)
}

// connection makes a net.TCPConn of an accepted connection, which it closes if
// that fails.
func connection(fd int) (*net.TCPConn, error) {
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close() //nolint:errcheck // FileConn has a duplicate
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// join copies both ways. The end of one direction is passed on alone, as there
// are protocols in which the other goes on; a failure ends both.
func join(a, b *net.TCPConn) {
	var up sync.WaitGroup
	up.Go(func() { pass(b, a) })
	pass(a, b)
	up.Wait()
	// All that was to be sent has been given to the kernel.
	_ = a.Close()
	_ = b.Close()
}

// pass copies from one connection to the other, in the kernel (splice(2)).
func pass(to, from *net.TCPConn) {
	_, err := io.Copy(to, from)
	switch {
	case err == nil:
		_ = to.CloseWrite() // fails if the other direction has ended everything
	case errors.Is(err, unix.EPIPE):
		// The receiver has closed. What it sent before is still on its way, and
		// that direction ends by itself.
	default:
		abort(to)
		abort(from)
	}
}

// abort closes a connection so that the other end cannot take it for complete.
func abort(c *net.TCPConn) {
	// Both fail only if it is closed already.
	_ = c.SetLinger(0)
	_ = c.Close()
}
