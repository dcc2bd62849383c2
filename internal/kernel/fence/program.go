package fence

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
)

// What a program answers (linux/pkt_cls.h): drop the packet, or leave it to whoever
// comes next.
const (
	shot   = 2          // TC_ACT_SHOT
	unspec = 0xffffffff // TC_ACT_UNSPEC
)

// Where a load looks (linux/filter.h): SKF_NET_OFF counts from the network header,
// wherever a VLAN tag has put it; SKF_AD_OFF asks about the packet.
const (
	networkHeader = ^uint32(0x100000) + 1
	about         = ^uint32(0x1000) + 1
	protocol      = about        // SKF_AD_PROTOCOL: the EtherType, in host byte order
	packetMark    = about + 0x14 // SKF_AD_MARK
)

// Offsets of addresses in their headers (RFC 791, section 3.1; RFC 8200, section 3).
const (
	source4, destination4 = networkHeader + 12, networkHeader + 16
	source6, destination6 = networkHeader + 8, networkHeader + 24
)

// programs are the two classifiers of a fence: for what the bridge hands to the host,
// and for what the host hands to the bridge. One without instructions is not wanted.
func programs(row desired.Fence) (in, out []unix.SockFilter) {
	if row.Closed {
		nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: shot}}
		return nothing, nothing
	}
	if len(row.Inside) > 0 {
		return inside(row.Inside, destination4, destination6), inside(row.Inside, source4, source6)
	}
	if row.Localhost {
		return localhost(), nil
	}
	return nil, nil
}

// localhost drops what has an address in 127.0.0.0/8 at either end, and what it cannot
// look into: a frame with a tag beneath its tag, which the stack would take off later.
func localhost() []unix.SockFilter {
	var p program
	p.kinds(func() {
		p.under(source4, netip.MustParsePrefix("127.0.0.0/8"), shot)
		p.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, packetMark)
		p.jump(unix.BPF_JSET, desired.AnswerMark, 0, 1)
		p.end(unspec)
		p.under(destination4, netip.MustParsePrefix("127.0.0.0/8"), shot)
	}, nil)
	p.end(unspec)
	return p.code
}

// inside drops IP packets whose address at an offset is neither in one of the subnets
// nor one that is for the link.
func inside(subnets []netip.Prefix, at4, at6 uint32) []unix.SockFilter {
	four := []netip.Prefix{netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("0.0.0.0/32")}
	six := []netip.Prefix{netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"), netip.MustParsePrefix("::/128")}
	for _, s := range subnets {
		if s = s.Masked(); s.Addr().Is4() {
			four = append(four, s)
		} else {
			six = append(six, s)
		}
	}
	only := func(p *program, at uint32, allowed []netip.Prefix) func() {
		return func() {
			for _, s := range allowed {
				p.under(at, s, unspec)
			}
			p.end(shot)
		}
	}
	var p program
	p.kinds(only(&p, at4, four), only(&p, at6, six))
	p.end(unspec)
	return p.code
}

// program is classic BPF in the making (linux/filter.h). Jumps are relative and go
// forward, at most 255 instructions.
type program struct{ code []unix.SockFilter }

func (p *program) add(code uint16, k uint32) {
	p.code = append(p.code, unix.SockFilter{Code: code, K: k})
}

// jump skips as many instructions as it says.
func (p *program) jump(test uint16, k uint32, ifTrue, ifFalse uint8) {
	p.code = append(p.code, unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, Jt: ifTrue, Jf: ifFalse, K: k})
}

func (p *program) end(answer uint32) { p.add(unix.BPF_RET|unix.BPF_K, answer) }

// kinds goes on with four for IPv4 packets and with six for IPv6, where they are
// given; with what follows for all else. What has a VLAN tag beneath the one that the
// kernel has taken off is dropped.
func (p *program) kinds(four, six func()) {
	p.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, protocol)
	for _, tag := range []uint32{unix.ETH_P_8021Q, unix.ETH_P_8021AD} {
		p.jump(unix.BPF_JEQ, tag, 0, 1)
		p.end(shot)
	}
	for _, k := range []struct {
		etherType uint32
		body      func()
	}{{unix.ETH_P_IP, four}, {unix.ETH_P_IPV6, six}} {
		if k.body == nil {
			continue
		}
		p.jump(unix.BPF_JEQ, k.etherType, 1, 0)
		at := len(p.code)
		p.add(unix.BPF_JMP|unix.BPF_JA, 0)
		k.body()
		p.end(unspec)
		p.code[at].K = uint32(len(p.code) - at - 1)
	}
}

// under answers for an address in the subnet, and goes on otherwise.
func (p *program) under(at uint32, subnet netip.Prefix, answer uint32) {
	addr := subnet.Masked().Addr().AsSlice()
	words := (subnet.Bits() + 31) / 32
	var fails []int
	for i := range words {
		bits := min(32, subnet.Bits()-32*i)
		p.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, at+uint32(4*i))
		if bits < 32 {
			p.add(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, ^uint32(0)<<(32-bits))
		}
		fails = append(fails, len(p.code))
		p.jump(unix.BPF_JEQ, binary.BigEndian.Uint32(addr[4*i:]), 0, 0)
	}
	p.end(answer)
	for _, i := range fails {
		p.code[i].Jf = uint8(len(p.code) - i - 1)
	}
}
