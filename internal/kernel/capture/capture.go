// Package capture hears the frames of interfaces, in the host's namespace and in others, by
// packet sockets (packet(7)).
//
//	taps ─▶ Open ─▶ Source.Frames ─▶ facts.Frame …
//
// It sends nothing, sets nothing, and keeps at most what a socket's buffer and a short queue
// hold: what its reader is too slow for is dropped and counted. It must not know what frames
// mean: which are wanted says a program (bpf(4)) that it is given.
package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	// bufferSize is what a socket may hold, in bytes.
	bufferSize = 8 << 20
	// queued is how many frames wait for whoever reads, of all sockets.
	queued = 64
	// maxNamespaces bounds the sockets of one capture.
	maxNamespaces = 64
	// headerRoom is what a frame may be longer than what it carries: two MAC addresses, a
	// VLAN tag, an EtherType.
	headerRoom = 18
)

// Program returns which frames are wanted at these places, as a packet socket of all
// interfaces is told it.
type Program func([]facts.Place) ([]bpf.Instruction, error)

// Capturer opens sources in the namespaces of a directory.
type Capturer struct{ dir *netns.Dir }

// New returns a Capturer.
func New(dir *netns.Dir) *Capturer { return &Capturer{dir} }

// Source is what is heard at some taps.
type Source struct {
	frames  chan facts.Frame
	lines   []*line
	ended   context.Context // its sockets are closed
	end     context.CancelFunc
	reading sync.WaitGroup
}

// Open begins to hear, and keeps up to snapLen bytes of a frame. A tap whose interface is not
// there, or not any more, is silent; the error is NotFound if that is all of them. The caller
// closes the source.
func (c *Capturer) Open(ctx context.Context, taps []facts.Tap, program Program, snapLen int) (*Source, error) {
	spaces, order := map[string][]int{}, []string{}
	for i, t := range taps {
		if spaces[t.Namespace] == nil {
			order = append(order, t.Namespace)
		}
		spaces[t.Namespace] = append(spaces[t.Namespace], i)
	}
	if len(order) > maxNamespaces {
		return nil, model.Errorf(model.Invalid, "its interfaces are in %d network namespaces, at most %d can be heard at a time: capture a container", len(order), maxNamespaces)
	}
	s := &Source{frames: make(chan facts.Frame, queued)}
	s.ended, s.end = context.WithCancel(context.WithoutCancel(ctx))
	for _, space := range order {
		l, err := c.listen(ctx, space, pick(taps, spaces[space]), program)
		if err != nil {
			s.Close()
			return nil, err
		}
		if l != nil {
			s.lines = append(s.lines, l)
		}
	}
	if len(s.lines) == 0 {
		s.Close()
		return nil, model.Errorf(model.NotFound, "none of its interfaces is there")
	}
	for _, l := range s.lines {
		s.reading.Go(func() { l.read(s, make([]byte, snapLen+headerRoom)) })
	}
	return s, nil
}

// numbered is a tap with its number among all.
type numbered struct {
	facts.Tap
	number int
}

func pick(taps []facts.Tap, which []int) (out []numbered) {
	for _, i := range which {
		out = append(out, numbered{taps[i], i})
	}
	return out
}

// listen opens the socket of one namespace; nil if none of its taps is there.
func (c *Capturer) listen(ctx context.Context, space string, taps []numbered, program Program) (l *line, err error) {
	err = c.dir.Do(ctx, space, func() error {
		l = &line{taps: map[int]int{}, first: taps[0].number}
		var places []facts.Place
		for _, t := range taps {
			link, err := net.InterfaceByName(t.Link)
			if err != nil {
				continue // gone, or renamed by whom it belongs to
			}
			l.taps[link.Index] = t.number
			places = append(places, facts.Place{Index: link.Index, Incoming: t.Incoming, Outgoing: t.Outgoing})
		}
		if len(places) == 0 {
			l = nil
			return nil
		}
		return l.open(places, program)
	})
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("capture: %w", err)
	}
	return l, nil
}

// Frames are what is heard, until the source is closed.
func (s *Source) Frames() <-chan facts.Frame { return s.frames }

// Counts is what was dropped so far.
func (s *Source) Counts() (out []facts.CaptureCounts) {
	for _, l := range s.lines {
		out = append(out, facts.CaptureCounts{Tap: l.first, Dropped: l.drops()})
	}
	return out
}

// Close ends it, and the channel of Frames with it.
func (s *Source) Close() {
	s.end()
	for _, l := range s.lines {
		_ = l.file.SetReadDeadline(time.Unix(1, 0)) // which ends a wait; it cannot fail on an open socket
	}
	s.reading.Wait()
	for _, l := range s.lines {
		_ = l.file.Close() // nothing was written
	}
	close(s.frames)
}

// line is the socket of one namespace.
type line struct {
	file  *os.File
	taps  map[int]int // the tap's number, by that of the interface
	first int

	mu      sync.Mutex // guards dropped
	dropped uint64
}

// open opens the socket in the namespace of the thread. It hears nothing before it has its
// program, and then only what that lets through.
func (l *line) open(places []facts.Place, program Program) error {
	instructions, err := program(places)
	if err != nil {
		return err
	}
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	l.file = os.NewFile(uintptr(fd), "capture")
	address := unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL)}
	if len(places) == 1 {
		address.Ifindex = places[0].Index // others need not be looked at
	}
	err = errors.Join(
		attach(fd, raw),
		os.NewSyscallError("SO_RCVBUFFORCE", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize)),
		os.NewSyscallError("SO_TIMESTAMPNS", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)),
		os.NewSyscallError("PACKET_AUXDATA", unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)),
		os.NewSyscallError("bind", unix.Bind(fd, &address)),
	)
	if err != nil {
		return errors.Join(err, l.file.Close())
	}
	return nil
}

func attach(fd int, raw []bpf.RawInstruction) error {
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return os.NewSyscallError("SO_ATTACH_FILTER", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}))
}

func bigEndian(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// read hands on frames until the source ends.
func (l *line) read(s *Source, buffer []byte) {
	conn, err := l.file.SyscallConn()
	if err != nil {
		return
	}
	control := make([]byte, 256)
	for s.ended.Err() == nil {
		var n, controls int
		var from unix.Sockaddr
		waited := conn.Read(func(fd uintptr) bool {
			n, controls, _, from, err = unix.Recvmsg(int(fd), buffer, control, 0)
			return err != unix.EAGAIN && err != unix.EINTR
		})
		if waited != nil {
			return // closed, or about to be
		}
		if err != nil { // ENETDOWN: an interface has gone down; others may be up
			continue
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		tap, known := l.taps[ll.Ifindex]
		if !known {
			continue
		}
		f := frameOf(buffer[:n], control[:controls])
		f.Tap, f.Outgoing = tap, ll.Pkttype == unix.PACKET_OUTGOING
		select {
		case s.frames <- f:
		case <-s.ended.Done():
			return
		}
	}
}

// vlanValid is TP_STATUS_VLAN_VALID: the kernel has taken the tag out of the frame.
const vlanValid = 1 << 4

// frameOf copies a frame, with what the kernel says of it besides: how long it was, when it
// came, and the VLAN tag that it had.
func frameOf(data, control []byte) facts.Frame {
	f := facts.Frame{Data: append([]byte(nil), data...), Length: len(data)}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		messages = nil
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16: // struct timespec
			f.At = time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20:
			auxiliary(&f, m.Data)
		}
	}
	if f.At.IsZero() {
		f.At = time.Now()
	}
	return f
}

// auxiliary reads a struct tpacket_auxdata (linux/if_packet.h).
func auxiliary(f *facts.Frame, b []byte) {
	status, length := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:])
	f.Length = max(int(length), len(f.Data))
	const addresses = 12
	if status&vlanValid == 0 || len(f.Data) < addresses {
		return
	}
	tag := binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(b[18:]))
	tag = binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(b[16:]))
	f.Data = append(f.Data[:addresses:addresses], append(tag, f.Data[addresses:]...)...)
	f.Length += len(tag)
}

// drops returns how many frames were dropped so far. The kernel counts from the last
// question on.
func (l *line) drops() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	conn, err := l.file.SyscallConn()
	if err != nil {
		return l.dropped
	}
	_ = conn.Control(func(fd uintptr) { // it fails once the socket is closed
		if stats, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			l.dropped += uint64(stats.Drops)
		}
	})
	return l.dropped
}
