package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// maxFrame is the largest frame that is read, in bytes: larger ones are cut, and then are
// no messages.
const maxFrame = 16 << 10

// line is a packet socket (packet(7)) on an interface: what it sends leaves by the
// interface, whoever is said to be the sender, and it hears what comes in there before
// the kernel hands it to interfaces of containers.
type line struct {
	file    *os.File
	raw     rawConn
	address unix.SockaddrLinklayer
	device  *net.Interface
}

// rawConn is what is needed of syscall.RawConn.
type rawConn interface {
	Read(f func(fd uintptr) bool) error
	Write(f func(fd uintptr) bool) error
}

// Open opens a line to the network of an interface of the namespace of the process, that
// hears what is about addresses of one family.
func Open(device string, f model.Family) (Line, error) {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", device, err)
	}
	if i.Flags&net.FlagUp == 0 {
		return nil, fmt.Errorf("interface %s is down", device)
	}
	if len(i.HardwareAddr) != 6 {
		return nil, fmt.Errorf("interface %s is not an Ethernet interface", device)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "dhcp "+device)
	l := &line{file: file, device: i, address: unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: i.Index, Halen: 6}}
	hear := filter4
	if f == model.IPv6 {
		hear = filter6
	}
	if err := errors.Join(hear(fd), os.NewSyscallError("bind", unix.Bind(fd, &l.address))); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if l.raw, err = file.SyscallConn(); err == nil && f == model.IPv6 {
		err = hearAll(fd, i.Index)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return l, nil
}

func bigEndian(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// hearAll has the interface hear frames for MAC addresses that are not its own, for as long
// as the socket is open: answers of IPv6 are never broadcast, and the interface whose address
// they are for may not be there yet.
func hearAll(fd, index int) error {
	m := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	return os.NewSyscallError("setsockopt", unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m))
}

// filter6 lets in what is for DHCPv6 clients, and what routers and neighbours say. It is set
// before the socket is bound, as filter4 is.
func filter6(fd int) error {
	const next = 0
	return attach(fd, []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: typeIPv6, Jt: next, Jf: 9},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: etherLen + 6},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: protocolUDP, Jt: next, Jf: 2},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: etherLen + ipLen6 + 2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: clientPort6, Jt: 4, Jf: 5},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: protocolICMPv6, Jt: next, Jf: 4},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: etherLen + ipLen6},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: routerAdvertisement, Jt: 1, Jf: next},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: neighborSolicitation, Jt: next, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: take},
		{Code: unix.BPF_RET | unix.BPF_K, K: drop},
	})
}

// What a filter answers: how many bytes to keep.
const drop, take = 0, 0xffff

// untagged begins a program: frames of VLANs go by on their parent as well, without their tags,
// and who is in one must have no say here. A tag with the number 0 is of none (IEEE 802.1Q).
func untagged() []unix.SockFilter {
	const next, number = 0, 0xfff
	const offset, tag, present = 0xfffff000, 44, 48 // SKF_AD_… of linux/filter.h
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset + present},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jt: 4, Jf: next},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset + tag},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jt: 1, Jf: next},
		{Code: unix.BPF_RET | unix.BPF_K, K: drop},
	}
}

func attach(fd int, program []unix.SockFilter) error {
	program = append(untagged(), program...)
	return os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}))
}

// filter4 lets in what is for DHCP clients, and ARP. It is set before the socket is bound
// to anything, so nothing else is ever queued.
func filter4(fd int) error {
	const next = 0
	return attach(fd, []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: typeARP, Jt: 8, Jf: next},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: typeIPv4, Jt: next, Jf: 8},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: etherLen + 9},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: protocolUDP, Jt: next, Jf: 6},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: etherLen + 6},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x1fff, Jt: 4, Jf: next},
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: etherLen},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: etherLen + 2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: clientPort, Jt: next, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: take},
		{Code: unix.BPF_RET | unix.BPF_K, K: drop},
	})
}

func (l *line) MAC() net.HardwareAddr { return l.device.HardwareAddr }
func (l *line) MTU() int              { return l.device.MTU }
func (l *line) Close() error          { return l.file.Close() }

func (l *line) Send(frame []byte) error {
	to := l.address
	copy(to.Addr[:], frame[:6])
	var err error
	if rawErr := l.raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), frame, 0, &to)
		return err != unix.EAGAIN
	}); rawErr != nil {
		return rawErr
	}
	return os.NewSyscallError("sendto", err)
}

func (l *line) Receive(ctx context.Context) ([]byte, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := l.file.SetReadDeadline(deadline); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { l.file.SetReadDeadline(time.Unix(1, 0)) }) //nolint:errcheck // it fails once it is closed
	defer stop()
	buffer := make([]byte, maxFrame)
	for {
		n, from, err := l.read(buffer)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			<-ctx.Done()
			return nil, ctx.Err()
		case err != nil:
			return nil, err
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue // our own, and what the host says
		}
		return buffer[:n], nil
	}
}

func (l *line) read(buffer []byte) (n int, from unix.Sockaddr, err error) {
	rawErr := l.raw.Read(func(fd uintptr) bool {
		n, from, err = unix.Recvfrom(int(fd), buffer, 0)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if rawErr != nil {
		return 0, nil, rawErr
	}
	return n, from, os.NewSyscallError("recvfrom", err)
}
