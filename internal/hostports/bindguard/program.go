package bindguard

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// What a program is given: struct bpf_sock_addr and, behind its last field, struct
// bpf_sock (linux/bpf.h). Address and port are in network byte order.
const (
	atIP4      = 4
	atIP6      = 8
	atPort     = 24
	atProtocol = 36
	atSock     = 64
	atSockMark = 16
)

// Registers that calls leave alone, and what is in them.
const (
	context  = asm.R6
	port     = asm.R7
	protocol = asm.R8
	address  = asm.R9 // of IPv4
)

// Labels that are jumped to from everywhere.
const (
	allow  = "allow"
	refuse = "refuse"
)

// listing is what a program knows.
type listing struct {
	cookie uint64 // the network namespace whose processes are meant
	rows   []desired.Reserve
	plain  bool // refuse with EPERM: the kernel lets no program choose
}

// program returns the instructions for one family of sockets.
func (l listing) program(family ebpf.AttachType) asm.Instructions {
	out := asm.Instructions{
		asm.Mov.Reg(context, asm.R1),
		asm.FnGetNetnsCookie.Call(),
		asm.LoadImm(asm.R1, int64(l.cookie), asm.DWord),
		asm.JNE.Reg(asm.R0, asm.R1, allow),
		asm.LoadMem(asm.R1, context, atSock, asm.DWord),
		asm.LoadMem(asm.R1, asm.R1, atSockMark, asm.Word),
		asm.JEq.Imm(asm.R1, passMark, allow),
		asm.LoadMem(port, context, atPort, asm.Word),
		asm.HostTo(asm.BE, port, asm.Half),
		asm.LoadMem(protocol, context, atProtocol, asm.Word),
	}
	if family == ebpf.AttachCGroupInet4Bind {
		out = append(out, asm.LoadMem(address, context, atIP4, asm.Word))
		out = append(out, l.section("four", onlyIPv4)...)
	} else {
		out = append(out, l.sixes()...)
	}
	out = append(out,
		asm.Mov.Imm(asm.R0, 1).WithSymbol(allow),
		asm.Return(),
		asm.Mov.Imm(asm.R1, -int32(unix.EADDRINUSE)).WithSymbol(refuse),
	)
	if !l.plain {
		out = append(out, asm.FnSetRetval.Call())
	}
	return append(out, asm.Mov.Imm(asm.R0, 0), asm.Return())
}

// sixes goes through the rows for a socket of IPv6, whose address may be one of
// IPv4 in disguise (RFC 4291 section 2.5.5.2), or all of both families.
func (l listing) sixes() asm.Instructions {
	out := asm.Instructions{
		asm.LoadMem(address, context, atIP6+12, asm.Word),
		asm.LoadMem(asm.R1, context, atIP6, asm.Word),
		asm.LoadMem(asm.R2, context, atIP6+4, asm.Word),
		asm.LoadMem(asm.R3, context, atIP6+8, asm.Word),
		asm.Or.Reg(asm.R1, asm.R2),
		asm.JNE.Imm(asm.R1, 0, "one"),
		asm.JEq.Imm32(asm.R3, word([]byte{0, 0, 0xff, 0xff}), "disguised"),
		asm.JNE.Imm(asm.R3, 0, "one"),
		asm.JNE.Imm(address, 0, "one"),
	}
	out = append(out, l.section("all", everyRow)...)
	out = append(out, mark(l.section("one", onlyIPv6), "one")...)
	return append(out, mark(l.section("disguised", onlyIPv4), "disguised")...)
}

// mark names the first instruction.
func mark(section asm.Instructions, symbol string) asm.Instructions {
	section[0] = section[0].WithSymbol(symbol)
	return section
}

// matcher returns what decides whether an address collides with that of a row: it
// jumps to refuse or to next. Nil: the row does not matter in this section.
type matcher func(row netip.Addr, next string) asm.Instructions

// section compares with every row, and allows what none is against.
func (l listing) section(name string, match matcher) asm.Instructions {
	out := asm.Instructions{asm.Mov.Reg(asm.R1, port)} // something to jump to
	for i, row := range l.rows {
		next := fmt.Sprintf("%s-%d", name, i)
		decide := match(row.Addr.WithZone(""), next)
		if decide == nil {
			continue
		}
		out = append(out,
			asm.JNE.Imm(protocol, protocolNumber(row.Protocol), next),
			asm.JLT.Imm(port, int32(row.First), next),
			asm.JGT.Imm(port, int32(row.Last), next),
		)
		out = append(out, decide...)
		out = append(out, asm.Mov.Reg(asm.R1, port).WithSymbol(next))
	}
	return append(out, asm.Ja.Label(allow))
}

// everyRow is for binds to all addresses of both families.
func everyRow(netip.Addr, string) asm.Instructions {
	return asm.Instructions{asm.Ja.Label(refuse)}
}

// onlyIPv4 is for binds to the IPv4 address in its register.
func onlyIPv4(row netip.Addr, next string) asm.Instructions {
	switch {
	case !row.Is4():
		return nil
	case row.IsUnspecified():
		return asm.Instructions{asm.Ja.Label(refuse)}
	}
	return asm.Instructions{
		asm.JEq.Imm(address, 0, refuse),
		asm.JEq.Imm32(address, word(row.AsSlice()), refuse),
		asm.Ja.Label(next),
	}
}

// onlyIPv6 is for binds to one IPv6 address.
func onlyIPv6(row netip.Addr, next string) asm.Instructions {
	switch {
	case !row.Is6():
		return nil
	case row.IsUnspecified():
		return asm.Instructions{asm.Ja.Label(refuse)}
	}
	var out asm.Instructions
	bytes := row.AsSlice()
	for i := range int16(4) {
		out = append(out,
			asm.LoadMem(asm.R1, context, atIP6+4*i, asm.Word),
			asm.JNE.Imm32(asm.R1, word(bytes[4*i:]), next),
		)
	}
	return append(out, asm.Ja.Label(refuse))
}

// word returns four bytes as the kernel would load them.
func word(b []byte) int32 { return int32(binary.NativeEndian.Uint32(b)) }

// protocolNumber returns 0 for what the programs do not see.
func protocolNumber(p model.Protocol) int32 {
	switch p {
	case model.TCP:
		return unix.IPPROTO_TCP
	case model.UDP:
		return unix.IPPROTO_UDP
	}
	return 0
}
