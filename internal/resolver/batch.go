package resolver

import (
	"encoding/binary"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is how many datagrams pass through one system call at most: a
// sandbox that asks much costs two calls for as many queries.
const batchSize = 32

// batch is room for datagrams on their way in and out. Listeners borrow one
// while they have work, so that idle sandboxes cost no memory.
type batch struct {
	count   int // datagrams that came in
	in      [batchSize]datagram
	headers [batchSize]mmsghdr
	query   query
	writers [batchSize]writer

	replies  int
	outgoing [batchSize]mmsghdr
	vectors  [batchSize]unix.Iovec
}

// datagram is what came in, and from where in the kernel's form.
type datagram struct {
	bytes  [maxQuery + 1]byte // one more, to notice what was cut off
	from   unix.RawSockaddrInet6
	vector unix.Iovec
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

func newBatch() *batch {
	b := &batch{}
	for i := range b.in {
		d := &b.in[i]
		d.vector.Base = &d.bytes[0]
		d.vector.SetLen(len(d.bytes))
		b.headers[i].header.Iov = &d.vector
		b.headers[i].header.SetIovlen(1)
		b.headers[i].header.Name = (*byte)(unsafe.Pointer(&d.from))
		b.outgoing[i].header.Iov = &b.vectors[i]
		b.outgoing[i].header.SetIovlen(1)
	}
	return b
}

// message returns the i-th datagram that came in; nil if it was cut off.
func (b *batch) message(i int) []byte {
	n := b.headers[i].length
	if n > maxQuery {
		return nil
	}
	return b.in[i].bytes[:n]
}

// from returns where the i-th datagram came from.
func (b *batch) from(i int) netip.AddrPort {
	raw := (*[unix.SizeofSockaddrInet6]byte)(unsafe.Pointer(&b.in[i].from))
	port := binary.BigEndian.Uint16(raw[2:])
	if b.in[i].from.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(raw[4:8])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(raw[8:24])), port)
}

// answer puts a reply to the i-th datagram on its way; send sends it.
func (b *batch) answer(i int, reply []byte) {
	b.vectors[b.replies].Base = &reply[0]
	b.vectors[b.replies].SetLen(len(reply))
	h := &b.outgoing[b.replies].header
	h.Name, h.Namelen = b.headers[i].header.Name, b.headers[i].header.Namelen
	b.replies++
}

// pipe moves batches through one socket. It is for one goroutine.
type pipe struct {
	raw   syscall.RawConn
	spare *sync.Pool // of *batch
	batch *batch
	err   error
	read  func(fd uintptr) bool // made once: a call allocates nothing
	write func(fd uintptr) bool
}

func newPipe(conn syscall.Conn, spare *sync.Pool) (*pipe, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := &pipe{raw: raw, spare: spare}
	p.read, p.write = p.receiveNow, p.sendNow
	return p, nil
}

// receive waits for datagrams. The batch is the caller's until release.
func (p *pipe) receive() (*batch, error) {
	p.err = nil
	if err := p.raw.Read(p.read); err != nil {
		return nil, err
	}
	return p.batch, p.err
}

// receiveNow takes what is there; false means to wait until there is something.
func (p *pipe) receiveNow(fd uintptr) bool {
	if p.batch == nil {
		p.batch = p.spare.Get().(*batch)
	}
	b := p.batch
	for i := range b.headers {
		b.headers[i].header.Namelen = unix.SizeofSockaddrInet6
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		b.count, b.replies = int(n), 0
		return true
	case unix.EAGAIN, unix.EINTR:
		p.release()
		return false
	}
	p.release()
	p.err = os.NewSyscallError("recvmmsg", errno)
	return true
}

// send sends the batch's replies. A client whose reply cannot be sent asks
// again.
func (p *pipe) send() {
	if p.batch.replies > 0 {
		_ = p.raw.Write(p.write)
	}
}

func (p *pipe) sendNow(fd uintptr) bool {
	b := p.batch
	for at := 0; at < b.replies; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.outgoing[at])), uintptr(b.replies-at), 0, 0, 0)
		switch errno {
		case 0:
			at += int(n)
		case unix.EINTR:
		default: // about the first of them
			at++
		}
	}
	return true
}

// release gives the batch back for others to use.
func (p *pipe) release() {
	if p.batch != nil {
		p.spare.Put(p.batch)
		p.batch = nil
	}
}
