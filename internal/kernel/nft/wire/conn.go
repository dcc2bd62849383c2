// Package wire speaks nfnetlink with nf_tables: requests in transactions whose refusals say which
// of them was refused, and dumps. It knows nothing of what they are about.
//
// One socket stays open for its owner's life; whoever holds it makes tables that end with it.
package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// AnswerTimeout bounds the wait for one answer where the caller's context
	// has no deadline of its own. The kernel answers within milliseconds.
	AnswerTimeout = 30 * time.Second

	// socketBuffer is asked for in both directions, in bytes: a whole chunk
	// must fit a single sendmsg, and its refusals the receive queue.
	socketBuffer = 4 << 20

	// receiveSize holds the largest datagram that the kernel builds for a dump.
	receiveSize = 64 << 10
)

// ErrInterrupted says that the ruleset changed while it was being read.
var ErrInterrupted = errors.New("ruleset changed while it was read")

// Message is one nf_tables request without its netlink header.
type Message struct {
	Kind   uint16 // unix.NFT_MSG_*
	Flags  uint16 // beyond NLM_F_REQUEST
	Family byte
	Attrs  Attrs
	What   Subject
}

// About says what in the table a message is about.
func (m Message) About(what, name string) Message {
	m.What.Kind, m.What.Name = what, name
	return m
}

// Subject is what a message is about, for errors.
type Subject struct{ Table, Kind, Name string }

func (s Subject) String() string { return strings.TrimSpace(s.Table + " " + s.Kind + " " + s.Name) }

// Refusal is one message of a batch that the kernel would not have.
type Refusal struct {
	Index int // in the batch
	Err   error
}

// Conn is a lasting nfnetlink socket. It speaks the protocol itself because
// only the sequence numbers of a batch's answers say which row was refused.
// It is not safe for concurrent use.
//
// See Documentation/userspace-api/netlink/intro.rst and
// net/netfilter/nfnetlink.c of the kernel.
type Conn struct {
	nl  *netlink.Conn
	raw syscall.RawConn
	seq uint32
	buf []byte
}

// Dial opens a socket in the namespace that the descriptor netns refers to, or
// in the current one if it is 0.
func Dial(netns int) (*Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink socket: %w", err)
	}
	// None of these is vital: a kernel without them gives shorter error texts
	// and smaller buffers.
	_ = nl.SetOption(netlink.ExtendedAcknowledge, true)
	_ = nl.SetOption(netlink.CapAcknowledge, true)
	_ = nl.SetReadBuffer(socketBuffer)
	_ = nl.SetWriteBuffer(socketBuffer)
	raw, err := nl.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open nfnetlink socket: %w", err), nl.Close())
	}
	return &Conn{nl: nl, raw: raw, buf: make([]byte, receiveSize)}, nil
}

// Close ends it, and with it the tables that only its owner may change.
func (c *Conn) Close() error { return c.nl.Close() }

// Raw is the socket, for who has to know its number.
func (c *Conn) Raw() syscall.RawConn { return c.raw }

// Commit sends msgs as one transaction: either all of them hold afterwards or
// none. The refusals name the messages at fault; err alone says that the
// transaction as a whole failed, or that its outcome is unknown.
func (c *Conn) Commit(ctx context.Context, msgs []Message) ([]Refusal, error) {
	if len(msgs) == 0 {
		return nil, nil
	}
	first := c.seq + 1 // of the batch's opening message
	last := first + uint32(len(msgs))
	c.seq = last + 1
	b := appendBatchMark(nil, unix.NFNL_MSG_BATCH_BEGIN, first)
	for i, m := range msgs {
		// Refusals come without being asked for; one acknowledgement, of the
		// last message, ends the wait. A receive queue cannot overflow with it.
		if i == len(msgs)-1 {
			m.Flags |= unix.NLM_F_ACK
		}
		b = appendMessage(b, m, first+1+uint32(i))
	}
	b = appendBatchMark(b, unix.NFNL_MSG_BATCH_END, last+1)
	if err := c.send(ctx, b); err != nil {
		return nil, err
	}
	var refused []Refusal
	for {
		done, err := c.receive(func(h header, body []byte) error {
			return answer(h, body, first, last, &refused)
		}, func(h header) bool { return h.seq == last })
		if err != nil || done {
			return refused, err
		}
	}
}

// answer takes in one message that arrived for the batch whose opening message
// has the sequence number first, and whose last change has last.
func answer(h header, body []byte, first, last uint32, refused *[]Refusal) error {
	if h.kind != unix.NLMSG_ERROR || h.seq < first {
		return nil // late answer to an earlier request
	}
	err := kernelError(h, body)
	if err == nil {
		return nil
	}
	if h.seq == first || h.seq > last { // the commit itself failed
		return err
	}
	*refused = append(*refused, Refusal{int(h.seq - first - 1), err})
	return nil
}

// Dump asks for every object of a kind and hands each one's attributes to
// visit. It fails with ErrInterrupted if the answer may be inconsistent.
func (c *Conn) Dump(ctx context.Context, m Message, visit func(body []byte) error) error {
	c.seq++
	seq := c.seq
	m.Flags |= unix.NLM_F_DUMP
	if err := c.send(ctx, appendMessage(nil, m, seq)); err != nil {
		return err
	}
	interrupted := false
	var cut error // why the answer ends before its time
	for {
		done, err := c.receive(func(h header, body []byte) error {
			if h.seq != seq {
				return nil
			}
			interrupted = interrupted || h.flags&unix.NLM_F_DUMP_INTR != 0
			switch {
			case h.kind == unix.NLMSG_ERROR:
				return kernelError(h, body)
			case h.kind == unix.NLMSG_DONE:
				cut = errorNumber(body)
				return nil
			case h.kind < unix.NLMSG_MIN_TYPE || len(body) < nfgenSize:
				return nil
			}
			return visit(body[nfgenSize:])
		}, func(h header) bool {
			return h.seq == seq && (h.kind == unix.NLMSG_DONE || h.kind == unix.NLMSG_ERROR)
		})
		if err != nil {
			return err
		}
		if done && interrupted {
			return ErrInterrupted
		}
		if done {
			return cut
		}
	}
}

// errorNumber reads what an error, and on newer kernels the end of a dump, begins with.
func errorNumber(body []byte) error {
	if len(body) < 4 || int32(binary.NativeEndian.Uint32(body)) >= 0 {
		return nil
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
}

func (c *Conn) send(ctx context.Context, b []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(AnswerTimeout)
	}
	if err := c.nl.SetDeadline(deadline); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	var sent error
	err := c.raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(sent, unix.EAGAIN)
	})
	if err := errors.Join(err, sent); err != nil {
		return fmt.Errorf("send to nf_tables: %w", err)
	}
	return nil
}

// receive reads one datagram and calls visit for each message in it, until one
// of them is the last.
func (c *Conn) receive(visit func(header, []byte) error, last func(header) bool) (bool, error) {
	n, err := c.datagram()
	if err != nil {
		return false, fmt.Errorf("receive from nf_tables: %w", err)
	}
	done := false
	for b := c.buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
		h := parseHeader(b)
		if h.size < unix.NLMSG_HDRLEN || h.size > len(b) {
			return false, fmt.Errorf("receive from nf_tables: message of %d bytes in %d", h.size, len(b))
		}
		if err := visit(h, b[unix.NLMSG_HDRLEN:h.size]); err != nil {
			return false, err
		}
		done = done || last(h)
		b = b[min(align(h.size), len(b)):]
	}
	return done, nil
}

func (c *Conn) datagram() (n int, err error) {
	waited := c.raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), c.buf, 0)
		return !errors.Is(err, unix.EAGAIN)
	})
	return n, errors.Join(waited, err)
}

// header is a struct nlmsghdr.
type header struct {
	size  int // with the header itself
	kind  uint16
	flags uint16
	seq   uint32
}

const nfgenSize = 4 // struct nfgenmsg: family, version, resource ID

func parseHeader(b []byte) header {
	return header{
		size:  int(binary.NativeEndian.Uint32(b)),
		kind:  binary.NativeEndian.Uint16(b[4:]),
		flags: binary.NativeEndian.Uint16(b[6:]),
		seq:   binary.NativeEndian.Uint32(b[8:]),
	}
}

func appendMessage(b []byte, m Message, seq uint32) []byte {
	kind := unix.NFNL_SUBSYS_NFTABLES<<8 | m.Kind
	b = appendHeader(b, header{unix.NLMSG_HDRLEN + nfgenSize + len(m.Attrs), kind, m.Flags, seq})
	b = append(b, m.Family, unix.NFNETLINK_V0, 0, 0)
	return append(b, m.Attrs...)
}

func appendBatchMark(b []byte, kind uint16, seq uint32) []byte {
	b = appendHeader(b, header{unix.NLMSG_HDRLEN + nfgenSize, kind, 0, seq})
	b = append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0)
	return binary.BigEndian.AppendUint16(b, unix.NFNL_SUBSYS_NFTABLES)
}

func appendHeader(b []byte, h header) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(h.size))
	b = binary.NativeEndian.AppendUint16(b, h.kind)
	b = binary.NativeEndian.AppendUint16(b, h.flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, h.seq)
	return append(b, 0, 0, 0, 0)
}

// kernelError reads an NLMSG_ERROR: nil for an acknowledgement, else the errno
// with the kernel's own words where it gives any.
func kernelError(h header, body []byte) error {
	const flagCapped, flagTLVs = 0x100, 0x200 // NLM_F_CAPPED, NLM_F_ACK_TLVS
	if len(body) < 4+unix.NLMSG_HDRLEN {
		return fmt.Errorf("nf_tables error of %d bytes: %w", len(body), unix.EBADMSG)
	}
	errno := errorNumber(body)
	if errno == nil {
		return nil
	}
	skip := 4 + unix.NLMSG_HDRLEN
	if h.flags&flagCapped == 0 {
		skip = 4 + align(parseHeader(body[4:]).size)
	}
	if h.flags&flagTLVs == 0 || skip < 0 || skip > len(body) {
		return errno
	}
	ad, err := netlink.NewAttributeDecoder(body[skip:])
	if err != nil {
		return errno
	}
	for ad.Next() {
		if ad.Type() == unix.NLMSGERR_ATTR_MSG {
			return fmt.Errorf("%s: %w", ad.String(), errno)
		}
	}
	return errno
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
