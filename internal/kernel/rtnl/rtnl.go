// Package rtnl is one rtnetlink conversation with one network namespace
// (rtnetlink(7)): it encodes, sends, waits for the answer within a deadline and
// counts what changed the kernel. The folders beside it say what to send.
//
// It must not know what any message means, and it never enters a namespace by
// itself: a socket belongs to the namespace of the thread that opened it.
//
// The socket blocks. The kernel does what it is asked while the request is being
// sent, so the answer is there when it is read; a poller would only add two
// thread switches to each of the twenty exchanges of an attach.
//
// What has gone wrong elsewhere: dumps that the kernel marks as interrupted
// (NLM_F_DUMP_INTR) were taken for complete; sockets without a timeout hung a
// daemon; a reply that came after its timeout was taken for the next one's.
package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// replyTimeout bounds one wait for the kernel. It answers in microseconds
	// unless the RTNL lock is held, which happens for long while many
	// interfaces die.
	replyTimeout = 20 * time.Second
	// dumpAttempts is how often an interrupted dump is started again.
	dumpAttempts = 10
	// bufferSize holds the largest datagram of a dump: the kernel fills at most
	// 32 KiB (netlink_dump in net/netlink/af_netlink.c).
	bufferSize = 32 << 10
)

// Protocol is our number as the origin of addresses (IFA_PROTO), routes
// (rtm_protocol) and neighbours (NDA_PROTOCOL): the mark by which a daemon knows
// its own. Numbers below 0x20 and several above 0xb0 are taken
// (/etc/iproute2/rt_protos).
const Protocol = 0x6c

// ErrInterrupted says that a dump kept being interrupted by changes.
var ErrInterrupted = errors.New("the kernel's tables changed while they were read")

// Conn is a socket in one namespace. It may be used by several goroutines; they
// take turns.
type Conn struct {
	fd     int
	writes *atomic.Int64

	mu     sync.Mutex // guards the fields below, and the exchange itself
	seq    uint32
	buffer []byte
}

// Open opens a socket in the namespace of the calling thread. Changes that the
// kernel accepted are added to writes.
func Open(writes *atomic.Int64) (*Conn, error) {
	return OpenProtocol(unix.NETLINK_ROUTE, writes)
}

// OpenProtocol is Open for another netlink(7) protocol, such as
// unix.NETLINK_NETFILTER.
func OpenProtocol(protocol int, writes *atomic.Int64) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	timeout := unix.NsecToTimeval(replyTimeout.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout),
		// The kernel explains its refusals …
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1),
		// … and filters dumps by what their header says.
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up netlink socket: %w", err), unix.Close(fd))
	}
	return &Conn{fd: fd, writes: writes}, nil
}

// Port returns the number by which the kernel knows the socket (netlink(7), nl_pid):
// notifications of what it changed have it.
func (c *Conn) Port() (uint32, error) {
	name, err := unix.Getsockname(c.fd)
	if err != nil {
		return 0, fmt.Errorf("name of the netlink socket: %w", err)
	}
	a, ok := name.(*unix.SockaddrNetlink)
	if !ok {
		return 0, unix.EAFNOSUPPORT
	}
	return a.Pid, nil
}

// Close closes the socket. It must not be called while another call is under
// way.
func (c *Conn) Close() {
	_ = unix.Close(c.fd) // nothing was buffered that could be lost
}

// Request is one message: its type, its fixed header and its attributes.
type Request struct {
	Type   uint16
	Flags  netlink.HeaderFlags // beyond Request, Acknowledge and Dump
	Header []byte
	Attrs  func(*netlink.AttributeEncoder) // may be nil
}

// Change sends a message that alters the kernel, and returns when the kernel
// has acknowledged it. The error is the kernel's error number wrapped in its own
// explanation, where it gives one.
func (c *Conn) Change(r Request) error {
	err := c.exchange(r, netlink.Request|netlink.Acknowledge, func([]byte) {})
	if err == nil {
		c.writes.Add(1)
	}
	return err
}

// Settle writes an object of which the kernel has one at most: as a new one or, where that
// is refused since there is one (EEXIST), in its place; unless it is there as wanted.
func Settle(write func(netlink.HeaderFlags) error, there func() (bool, error)) error {
	err := write(netlink.Create | netlink.Excl)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if is, err := there(); err != nil || is {
		return err
	}
	return write(netlink.Create | netlink.Replace)
}

// Get asks for one object and returns its message without the netlink header.
func (c *Conn) Get(r Request) (msg []byte, err error) {
	err = c.exchange(r, netlink.Request|netlink.Acknowledge, func(m []byte) { msg = m })
	if err == nil && msg == nil {
		err = unix.ENOENT
	}
	return msg, err
}

// Dump returns every object that matches, complete: an interrupted dump is
// repeated.
func (c *Conn) Dump(r Request) ([][]byte, error) {
	for range dumpAttempts {
		var out [][]byte
		err := c.exchange(r, netlink.Request|netlink.Dump, func(m []byte) { out = append(out, m) })
		if !errors.Is(err, ErrInterrupted) {
			return out, err
		}
	}
	return nil, ErrInterrupted
}

// Each calls f for every object that matches, as it arrives, for tables that are
// too large to be held. After an interrupted dump, the error is ErrInterrupted
// unless f returned one.
func (c *Conn) Each(r Request, f func(msg []byte) error) error {
	var failed error
	err := c.exchange(r, netlink.Request|netlink.Dump, func(m []byte) {
		if failed == nil {
			failed = f(m)
		}
	})
	if failed != nil {
		return failed
	}
	return err
}

// exchange sends one request and hands over the objects of the answer until the
// kernel says that it is complete.
func (c *Conn) exchange(r Request, flags netlink.HeaderFlags, each func([]byte)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	packet, err := r.encode(flags, c.seq)
	if err != nil {
		return err
	}
	if err := retry(func() error {
		return unix.Sendto(c.fd, packet, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}); err != nil {
		return fmt.Errorf("send to the kernel: %w", err)
	}
	interrupted := false
	for {
		datagram, err := c.receive()
		if err != nil {
			return fmt.Errorf("receive from the kernel: %w", err)
		}
		done, err := walk(datagram, c.seq, func(h netlink.Header, m []byte) {
			interrupted = interrupted || h.Flags&netlink.DumpInterrupted != 0
			each(m)
		})
		if err != nil {
			return err
		}
		if done && interrupted {
			return ErrInterrupted
		}
		if done {
			return nil
		}
	}
}

// encode is the request on the wire (struct nlmsghdr and what follows).
func (r Request) encode(flags netlink.HeaderFlags, seq uint32) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	if r.Attrs != nil {
		r.Attrs(ae)
	}
	attrs, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode netlink attributes: %w", err)
	}
	b := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(r.Header)+len(attrs))
	b = append(append(b, r.Header...), attrs...)
	binary.NativeEndian.PutUint32(b[0:], uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], r.Type)
	binary.NativeEndian.PutUint16(b[6:], uint16(flags|r.Flags))
	binary.NativeEndian.PutUint32(b[8:], seq)
	return b, nil
}

// receive returns the next datagram that comes from the kernel. The bytes are
// the caller's.
func (c *Conn) receive() ([]byte, error) {
	if c.buffer == nil {
		c.buffer = make([]byte, bufferSize)
	}
	for {
		var n int
		var from unix.Sockaddr
		err := retry(func() (err error) {
			n, from, err = unix.Recvfrom(c.fd, c.buffer, 0)
			return err
		})
		if err != nil {
			return nil, err
		}
		if a, ok := from.(*unix.SockaddrNetlink); ok && a.Pid == 0 {
			return append([]byte(nil), c.buffer[:n]...), nil
		}
	}
}

func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
