package userproxy

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// datagram is a buffer for one.
type datagram [maxDatagram]byte

// flowKey identifies a client: replies come from the address that it used.
type flowKey struct {
	socket *socket
	client netip.AddrPort
	local  netip.Addr
}

// flow is a client for as long as it is not idle.
type flow struct {
	flowKey
	proxy    *proxy
	upstream *net.UDPConn // connected to the container
	raw      syscall.RawConn
	to       unix.Sockaddr // the client
	control  []byte        // makes replies come from local
	seen     atomic.Int64  // last datagram either way, in nanoseconds since Server.born
}

// flow returns the flow of a client, which starts if there is none. It returns
// nil if that is impossible now.
func (p *proxy) flow(key flowKey) *flow {
	if f := p.flows.get(key); f != nil {
		return f
	}
	upstream, err := p.dial(p.ctx, "udp", key.client, p.target(key.socket.Port))
	if err != nil {
		return nil
	}
	return p.begin(key, upstream.(*net.UDPConn))
}

// begin serves a client through upstream, which it closes if it cannot.
func (p *proxy) begin(key flowKey, upstream *net.UDPConn) *flow {
	raw, err := upstream.SyscallConn()
	if err != nil {
		_ = upstream.Close() // nothing was sent
		return nil
	}
	f := &flow{flowKey: key, proxy: p, upstream: upstream, raw: raw, to: toSockaddr(key.client), control: sendFrom(key)}
	f.touch()
	if !p.flows.put(f) {
		_ = upstream.Close() // nothing was sent
		return nil
	}
	p.keep(f.socket)
	p.run(f.run)
	return f
}

func (f *flow) touch() { f.seen.Store(int64(time.Since(f.proxy.server.born))) }

// idle returns for how long nothing was sent or received.
func (f *flow) idle() time.Duration {
	return time.Since(f.proxy.server.born) - time.Duration(f.seen.Load())
}

func (f *flow) send(payload []byte) {
	f.touch()
	for range 2 { // an error that an earlier datagram met is reported once, instead of sending
		var err error
		closed := f.raw.Control(func(fd uintptr) { err = unix.Send(int(fd), payload, unix.MSG_DONTWAIT) })
		if closed != nil || err == nil || errors.Is(err, unix.EAGAIN) {
			return
		}
	}
}

// run passes replies on until the flow is idle or closed.
func (f *flow) run() {
	defer f.proxy.giveBack(f.socket)
	defer f.proxy.flows.drop(f)
	for f.await() {
		err := f.reply()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// Other errors are those that earlier datagrams met, or the time is up.
	}
}

// await sets the time until when the next reply must have come; it tells whether
// that is still to be.
func (f *flow) await() bool {
	left := flowTime - f.idle()
	return left > 0 && f.upstream.SetReadDeadline(time.Now().Add(left)) == nil
}

// reply passes one datagram to the client.
func (f *flow) reply() error {
	var buffer *datagram
	var n int
	var err error
	buffers := &f.proxy.server.buffers
	closed := f.raw.Read(func(fd uintptr) bool {
		buffer = buffers.Get().(*datagram) // only once there is something: thousands may wait
		if n, err = unix.Read(int(fd), buffer[:]); err == unix.EAGAIN {
			buffers.Put(buffer)
			return false
		}
		return true
	})
	if closed != nil {
		return closed
	}
	defer buffers.Put(buffer)
	if err != nil {
		return err
	}
	f.touch()
	return f.socket.Control(func(fd int) error {
		return unix.Sendmsg(fd, buffer[:n], f.control, f.to, unix.MSG_DONTWAIT)
	})
}
