package forward

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"sync"
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
	lane     *lane
	upstream *net.UDPConn // connected to the container
	raw      syscall.RawConn
	to       unix.Sockaddr // the client
	control  []byte        // makes replies come from local
	seen     atomic.Int64  // last datagram either way, in Unix nanoseconds
}

// flow returns the flow of a client, which starts if there is none. It returns
// nil if that is impossible now.
func (l *lane) flow(key flowKey) *flow {
	if f := l.flows.get(key); f != nil {
		return f
	}
	upstream, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(l.target(key.socket.name.port)))
	if err != nil {
		return nil
	}
	return l.begin(key, upstream)
}

// begin serves a client through upstream, which it closes if it cannot.
func (l *lane) begin(key flowKey, upstream *net.UDPConn) *flow {
	raw, err := upstream.SyscallConn()
	if err != nil || !l.server.flows.enter() {
		_ = upstream.Close() // nothing was sent
		return nil
	}
	f := &flow{flowKey: key, lane: l, upstream: upstream, raw: raw, to: toSockaddr(key.client), control: sendFrom(key)}
	f.touch()
	if !l.flows.put(f) {
		l.server.flows.leave()
		_ = upstream.Close() // nothing was sent
		return nil
	}
	l.keep(f.socket)
	l.run(f.run)
	return f
}

func (f *flow) touch() { f.seen.Store(time.Now().UnixNano()) }

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
	defer f.lane.server.flows.leave()
	defer f.lane.giveBack(f.socket)
	defer f.lane.flows.drop(f)
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
	until := time.Unix(0, f.seen.Load()).Add(flowTime)
	return time.Now().Before(until) && f.upstream.SetReadDeadline(until) == nil
}

// reply passes one datagram to the client.
func (f *flow) reply() error {
	var buffer *datagram
	var n int
	var err error
	buffers := &f.lane.server.buffers
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
	return f.socket.control(func(fd int) error {
		return unix.Sendmsg(fd, buffer[:n], f.control, f.to, unix.MSG_DONTWAIT)
	})
}

// flows are the UDP clients of a lane.
type flows struct {
	max int

	mu     sync.Mutex
	closed bool
	of     map[flowKey]*list.Element // of *flow
	order  *list.List                // the longest idle client first
}

func newFlows(limit int) flows {
	return flows{max: limit, of: map[flowKey]*list.Element{}, order: list.New()}
}

// get returns the flow of a client that has just sent something, or nil.
func (t *flows) get(key flowKey) *flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.of[key]
	if e == nil {
		return nil
	}
	t.order.MoveToBack(e)
	return e.Value.(*flow)
}

// put adds a flow, for which the client that has been idle for longest may have to
// go. It returns false once the table is closed.
func (t *flows) put(f *flow) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.of[f.flowKey] != nil {
		return false
	}
	if t.order.Len() >= t.max {
		t.remove(t.order.Front())
	}
	t.of[f.flowKey] = t.order.PushBack(f)
	return true
}

// drop takes out a flow that ends.
func (t *flows) drop(f *flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.of[f.flowKey]; e != nil && e.Value == f {
		t.remove(e)
	} else {
		_ = f.upstream.Close() // if it is not yet
	}
}

// remove ends a flow; its goroutine notices.
func (t *flows) remove(e *list.Element) {
	f := t.order.Remove(e).(*flow)
	delete(t.of, f.flowKey)
	_ = f.upstream.Close() // datagrams have no end that could get lost
}

// all returns every flow.
func (t *flows) all() []*flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*flow
	for e := t.order.Front(); e != nil; e = e.Next() {
		out = append(out, e.Value.(*flow))
	}
	return out
}

// close ends every flow and lets no more in.
func (t *flows) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for t.order.Len() > 0 {
		t.remove(t.order.Front())
	}
}
