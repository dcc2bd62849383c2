// Package portsteer makes one socket receive what arrives for a whole range of
// ports: a program in the kernel (BPF_PROG_TYPE_SK_LOOKUP) picks the socket when a
// packet belongs to no connection yet.
//
// It promises:
//
//   - A connection that is accepted from such a socket, and a datagram that is read
//     from it, says which port the client has used: getsockname(2) and
//     IPV6_RECVORIGDSTADDR.
//   - It works in one network namespace, that of the process.
//   - The program ends with the process, however that ends: nothing is pinned.
//   - A change is seen as a whole, or not at all.
//
// It is for IPv6 alone, as only that is forwarded in user space. It does not keep
// others from binding a port, and comes before all of them that listen there.
package portsteer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// maxTargets bounds the program: a target takes 25 instructions at most, and a jump
// reaches 32 767.
const maxTargets = 512

// Target leads a range of ports to a socket.
type Target struct {
	Protocol    model.Protocol // TCP or UDP
	Host        netip.Addr     // IPv6; unspecified is every address of the host
	LinkLocal   bool           // every link-local address, instead of Host
	First, Last uint16
	// Socket listens, or is bound without being connected, at any IPv6 address and
	// port; it is not one of MPTCP. It stays the caller's; when it is closed nobody receives.
	Socket int
}

// Steer leads ports to sockets. Its methods may be called from several goroutines.
type Steer struct {
	mu   sync.Mutex
	link *link.NetNsLink
}

// Set makes exactly the targets true. Where they overlap, an address comes before
// all of them. With an error everything is as before. It needs Linux 5.9, CAP_BPF
// and CAP_NET_ADMIN.
func (s *Steer) Set(targets []Target) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(targets) == 0 {
		return s.close()
	}
	if len(targets) > maxTargets {
		return fmt.Errorf("more than %d ranges of ports", maxTargets)
	}
	sorted := slices.Clone(targets)
	slices.SortStableFunc(sorted, func(a, b Target) int { return rank(a) - rank(b) })
	program, err := load(sorted)
	if err != nil {
		return err
	}
	defer program.Close() //nolint:errcheck // the link has it
	if s.link != nil {
		if err := s.link.Update(program); err != nil {
			return fmt.Errorf("replace the program: %w", err)
		}
		return nil
	}
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // only a name
	if s.link, err = link.AttachNetNs(int(ns.Fd()), program); err != nil {
		s.link = nil
		return fmt.Errorf("attach the program: %w", err)
	}
	return nil
}

// rank puts single addresses first, and all of them last.
func rank(t Target) int {
	switch {
	case t.LinkLocal:
		return 1
	case t.Host.IsUnspecified():
		return 2
	}
	return 0
}

// Close takes the program out of the kernel. The Steer may be used again.
func (s *Steer) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.close()
}

func (s *Steer) close() error {
	l := s.link
	s.link = nil
	if l == nil {
		return nil
	}
	return l.Close()
}

// load gives the kernel a program, and the map from which it takes the sockets.
func load(targets []Target) (*ebpf.Program, error) {
	sockets, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "linkspan_ports", Type: ebpf.SockMap, KeySize: 4, ValueSize: 8, MaxEntries: uint32(len(targets)),
	})
	if err != nil {
		return nil, fmt.Errorf("make the map of sockets: %w", err)
	}
	defer sockets.Close() //nolint:errcheck // the program has it
	for i, t := range targets {
		if err := sockets.Put(uint32(i), uint64(t.Socket)); err != nil {
			return nil, fmt.Errorf("put %s %s in the map of sockets: %w", t.Protocol, netip.AddrPortFrom(t.Host, t.First), err)
		}
	}
	program, err := ebpf.NewProgramWithOptions(&ebpf.ProgramSpec{
		Name: "linkspan_ports", Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup, License: "MIT",
		Instructions: instructions(targets, sockets.FD()),
	}, ebpf.ProgramOptions{LogDisabled: true})
	if err != nil {
		return nil, fmt.Errorf("load the program: %w", err)
	}
	return program, nil
}

// What the program is given: struct bpf_sk_lookup (linux/bpf.h). The address is in
// network byte order, the port is not.
const (
	atFamily    = 8
	atProtocol  = 12
	atLocalIP6  = 44
	atLocalPort = 60
)

// pass lets the kernel go on with what was picked, or with its own lookup.
const pass = 1

// instructions compares a packet with every target, and picks the first that fits.
func instructions(targets []Target, sockets int) asm.Instructions {
	out := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R7, asm.R6, atFamily, asm.Word),
		asm.JNE.Imm(asm.R7, unix.AF_INET6, "done"),
		asm.LoadMem(asm.R7, asm.R6, atProtocol, asm.Word),
		asm.LoadMem(asm.R8, asm.R6, atLocalPort, asm.Word),
	}
	for i, t := range targets {
		next := "next-" + strconv.Itoa(i)
		protocol := int32(unix.IPPROTO_TCP)
		if t.Protocol == model.UDP {
			protocol = unix.IPPROTO_UDP
		}
		out = append(out,
			asm.JNE.Imm(asm.R7, protocol, next),
			asm.JLT.Imm(asm.R8, int32(t.First), next),
			asm.JGT.Imm(asm.R8, int32(t.Last), next),
		)
		if t.LinkLocal {
			out = append(out,
				asm.LoadMem(asm.R1, asm.R6, int16(atLocalIP6), asm.Word),
				asm.And.Imm(asm.R1, int32(binary.NativeEndian.Uint32([]byte{0xff, 0xc0, 0, 0}))),
				asm.JNE.Imm32(asm.R1, int32(binary.NativeEndian.Uint32([]byte{0xfe, 0x80, 0, 0})), next),
			)
		}
		for word := 0; word < 16 && !t.LinkLocal && !t.Host.IsUnspecified(); word += 4 {
			out = append(out,
				asm.LoadMem(asm.R1, asm.R6, int16(atLocalIP6+word), asm.Word),
				asm.JNE.Imm32(asm.R1, int32(binary.NativeEndian.Uint32(t.Host.AsSlice()[word:])), next),
			)
		}
		out = append(out,
			asm.Mov.Imm(asm.R9, int32(i)),
			asm.Ja.Label("pick"),
			asm.Mov.Reg(asm.R1, asm.R6).WithSymbol(next),
		)
	}
	return append(append(out, asm.Ja.Label("done")), picking(sockets)...)
}

// picking takes the socket with the number in R9. One that is not there any more
// leaves the packet to the kernel.
func picking(sockets int) asm.Instructions {
	return asm.Instructions{
		asm.StoreMem(asm.RFP, -4, asm.R9, asm.Word).WithSymbol("pick"),
		asm.LoadMapPtr(asm.R1, sockets),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "done"),
		asm.Mov.Reg(asm.R9, asm.R0),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R9),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnSkAssign.Call(),
		asm.Mov.Reg(asm.R1, asm.R9),
		asm.FnSkRelease.Call(),
		asm.Mov.Imm(asm.R0, pass).WithSymbol("done"),
		asm.Return(),
	}
}
