package userproxy

import (
	"errors"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/limits"
)

// receiver takes datagrams from all sockets; it belongs to one poller.
type receiver struct {
	buffer, control []byte
}

func newReceiver() *receiver {
	return &receiver{buffer: make([]byte, maxDatagram), control: make([]byte, 256)}
}

// receive passes on the datagrams that wait at a socket.
func (r *receiver) receive(sock *socket) error {
	for range maxBurst {
		var n, controls int
		var from unix.Sockaddr
		err := sock.Control(func(fd int) (err error) {
			n, controls, _, from, err = unix.Recvmsg(fd, r.buffer, r.control, unix.MSG_DONTWAIT)
			return err
		})
		switch {
		case err == nil:
			r.forward(sock, fromSockaddr(from), r.buffer[:n], r.control[:controls])
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, os.ErrClosed):
			return nil
		case limits.Scarce(err) || !limits.Passing(err):
			return os.NewSyscallError("recvmsg", err)
		}
	}
	return nil
}

// forward sends a datagram to the container, from a socket of its client's own.
// What cannot be sent is lost, as datagrams may be.
func (r *receiver) forward(sock *socket, client netip.AddrPort, payload, control []byte) {
	at, ok := sentTo(control)
	if !ok || at.to.IsMulticast() {
		return
	}
	local := at.local
	p := sock.find(local)
	if p == nil || p.server.internals.have(sock, at.by) || p.row.Rest && local.Is4() && !p.hears(flowKey{sock, client, local}, at) {
		return
	}
	if port, told := portOf(control); told {
		if sock = p.at(sock, port); sock == nil {
			return
		}
		defer p.giveBack(sock)
	}
	if f := p.flow(flowKey{sock, client, local}); f != nil {
		f.send(payload)
	}
}
