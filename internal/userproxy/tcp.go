package userproxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/limits"
)

// accept takes the connections that wait at a socket.
func (s *Server) accept(sock *socket) error {
	for range maxBurst {
		fd, client, err := sock.accept()
		switch {
		case err == nil:
			s.outage.Over()
			s.admit(sock, fd, client)
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, os.ErrClosed):
			return nil
		case limits.Scarce(err):
			if !s.turnAway(sock) {
				return os.NewSyscallError("accept", err)
			}
			s.outage.Note(err)
		case limits.Passing(err):
		default:
			return os.NewSyscallError("accept", err)
		}
	}
	return nil
}

// accept takes one connection, and tells who it is with.
func (s *socket) accept() (fd int, client netip.AddrPort, err error) {
	err = s.Control(func(listening int) error {
		accepted, from, err := unix.Accept4(listening, unix.SOCK_CLOEXEC)
		fd, client = accepted, fromSockaddr(from)
		return err
	})
	return fd, client, err
}

// turnAway resets one connection of those that wait, by the descriptor that is kept
// for it: else they would wait for as long as the lack lasts. It tells whether there
// was one.
func (s *Server) turnAway(sock *socket) (done bool) {
	s.spare.Lend(func() {
		fd, _, err := sock.accept()
		if done = err == nil; done {
			reset(fd)
		}
	})
	return done
}

// admit gives a connection to the proxy of its local address, or resets it.
func (s *Server) admit(sock *socket, fd int, client netip.AddrPort) {
	local := localAddr(fd)
	p := sock.find(local.Addr())
	if !local.IsValid() || p == nil || s.internals.have(sock, cameBy(fd)) || !p.conns.Admit(client.Addr()) {
		reset(fd)
		return
	}
	p.run(func() {
		defer p.conns.Dismiss(client.Addr())
		p.carry(fd, client, p.target(local.Port()))
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

// keepAlive is how a silent peer is asked whether it is there.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: idleTime, Interval: probeTime, Count: probes}

// carry connects to the container and copies both ways until both are done.
func (p *proxy) carry(fd int, from, to netip.AddrPort) {
	client, err := connection(fd)
	if err != nil {
		return
	}
	defer context.AfterFunc(p.ctx, func() { abort(client) })()
	conn, err := p.dial(p.ctx, "tcp", from, to)
	if err != nil {
		abort(client)
		return
	}
	server := conn.(*net.TCPConn)
	defer context.AfterFunc(p.ctx, func() { abort(server) })()
	if client.SetKeepAliveConfig(keepAlive) != nil { // it is closed
		abort(server)
		return
	}
	p.server.pipes.join(client, server)
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
func (p *pipes) join(a, b *net.TCPConn) {
	var up sync.WaitGroup
	up.Go(func() { p.pass(b, a) })
	p.pass(a, b)
	up.Wait()
	// All that was to be sent has been given to the kernel.
	_ = a.Close()
	_ = b.Close()
}

// pass copies from one connection to the other.
func (p *pipes) pass(to, from *net.TCPConn) {
	err := p.copy(to, from)
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
