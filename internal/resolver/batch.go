package resolver

import (
	"encoding/binary"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/resolver/message"
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
	query   message.Query
	writers [batchSize]writer

	replies  int // in vectors
	packets  int // in outgoing; each carries one reply or more
	outgoing [batchSize]mmsghdr
	vectors  [batchSize]unix.Iovec
	control  [batchSize]segment
}

// maxPacket is how many bytes of replies share a packet at most.
const maxPacket = 32 << 10

// segment is the control message that has the kernel cut a packet into datagrams
// of equal size (udp(7), UDP_SEGMENT; Linux 4.18).
type segment struct {
	header unix.Cmsghdr
	size   uint16
	_      [6]byte
}

// datagram is what came in, and from where in the kernel's form.
type datagram struct {
	bytes  [message.MaxQuery + 1]byte // one more, to notice what was cut off
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
		b.headers[i].header.Name = (*byte)(unsafe.Pointer(&d.from)) // what the kernel leaves of it stays 0
		b.control[i].header.Level, b.control[i].header.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		b.control[i].header.SetLen(unix.CmsgLen(2))
	}
	return b
}

// message returns the i-th datagram that came in; nil if it was cut off.
func (b *batch) message(i int) []byte {
	n := b.headers[i].length
	if n > message.MaxQuery {
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

// reply puts a reply to the i-th datagram on its way; send sends it. A reply as
// long as the one before and to the same client shares its packet, if together
// is set: the way through the kernel is most of what a reply costs.
func (b *batch) reply(i int, reply []byte, together bool) {
	v := b.replies
	b.replies++
	b.vectors[v].Base = &reply[0]
	b.vectors[v].SetLen(len(reply))
	if together && b.packets > 0 && b.coalesce(b.packets-1, i, len(reply)) {
		return
	}
	out := &b.outgoing[b.packets].header
	*out = unix.Msghdr{Name: b.headers[i].header.Name, Namelen: b.headers[i].header.Namelen, Iov: &b.vectors[v]}
	out.SetIovlen(1)
	b.packets++
}

// coalesce lets the latest reply, to the i-th datagram, share packet p if it can.
func (b *batch) coalesce(p, i, size int) bool {
	out, to := &b.outgoing[p].header, &b.headers[i].header
	count := int(out.Iovlen)
	if int(out.Iov.Len) != size || (count+1)*size > maxPacket || out.Namelen != to.Namelen ||
		*(*unix.RawSockaddrInet6)(unsafe.Pointer(out.Name)) != *(*unix.RawSockaddrInet6)(unsafe.Pointer(to.Name)) {
		return false
	}
	b.control[p].size = uint16(size)
	out.Control = (*byte)(unsafe.Pointer(&b.control[p]))
	out.SetControllen(unix.CmsgSpace(2))
	out.SetIovlen(count + 1)
	return true
}

// batchConn moves batches through one socket. It is for one goroutine.
type batchConn struct {
	raw        syscall.RawConn
	spare      *sync.Pool // of *batch
	batch      *batch
	err        error
	noSegments bool                  // the kernel does not take packets of several replies
	read       func(fd uintptr) bool // made once: a call allocates nothing
	write      func(fd uintptr) bool
}

func newBatchConn(conn syscall.Conn, spare *sync.Pool) (*batchConn, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := &batchConn{raw: raw, spare: spare}
	p.read, p.write = p.receiveNow, p.sendNow
	return p, nil
}

// receive waits for datagrams. The batch is the caller's until release.
func (p *batchConn) receive() (*batch, error) {
	p.err = nil
	if err := p.raw.Read(p.read); err != nil {
		return nil, err
	}
	return p.batch, p.err
}

// receiveNow takes what is there; false means to wait until there is something.
func (p *batchConn) receiveNow(fd uintptr) bool {
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
		b.count, b.replies, b.packets = int(n), 0, 0
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
func (p *batchConn) send() {
	if p.batch.packets > 0 {
		_ = p.raw.Write(p.write)
	}
}

func (p *batchConn) sendNow(fd uintptr) bool {
	b := p.batch
	for at := 0; at < b.packets; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.outgoing[at])), uintptr(b.packets-at), 0, 0, 0)
		switch errno {
		case 0:
			at += int(n)
		case unix.EINTR:
		default: // about the first of them
			p.sendSingly(fd, &b.outgoing[at].header)
			at++
		}
	}
	return true
}

// sendSingly sends the replies of a packet that the kernel did not take one by
// one; from then on none share a packet. For a single reply there is no more to
// be done.
func (p *batchConn) sendSingly(fd uintptr, packet *unix.Msghdr) {
	if packet.Iovlen == 1 {
		return
	}
	p.noSegments = true
	vectors := unsafe.Slice(packet.Iov, packet.Iovlen)
	for i := range vectors {
		one := unix.Msghdr{Name: packet.Name, Namelen: packet.Namelen, Iov: &vectors[i]}
		one.SetIovlen(1)
		_, _, _ = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&one)), 0)
	}
}

// release gives the batch back for others to use.
func (p *batchConn) release() {
	if p.batch != nil {
		p.spare.Put(p.batch)
		p.batch = nil
	}
}
