package fence

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// packet is what a program sees of one.
type packet struct {
	etherType uint16
	src, dst  string
	mark      uint32
}

// load is a word where the program looks.
func (p packet) load(t *testing.T, at uint32) uint32 {
	t.Helper()
	switch at {
	case protocol:
		return uint32(p.etherType)
	case packetMark:
		return p.mark
	}
	header := make([]byte, 40)
	src, dst := netip.MustParseAddr(p.src), netip.MustParseAddr(p.dst)
	if src.Is4() {
		copy(header[12:], src.AsSlice())
		copy(header[16:], dst.AsSlice())
	} else {
		copy(header[8:], src.AsSlice())
		copy(header[24:], dst.AsSlice())
	}
	if at -= networkHeader; at > 36 {
		t.Fatalf("a load at %d", at)
	}
	return binary.BigEndian.Uint32(header[at:])
}

// run is what a program answers, by its own instructions.
func run(t *testing.T, code []unix.SockFilter, p packet) (a uint32) {
	t.Helper()
	for pc := 0; pc < len(code); pc++ {
		i := code[pc]
		test := func(hit bool) {
			if hit {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		}
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = p.load(t, i.K)
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			test(a == i.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			test(a&i.K != 0)
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		default:
			t.Fatalf("instruction %#x", i.Code)
		}
	}
	t.Fatal("the program does not end")
	return 0
}

func insideRow() desired.Fence {
	return desired.Fence{Link: "br0", Inside: []netip.Prefix{
		netip.MustParsePrefix("10.3.0.0/22"), netip.MustParsePrefix("fd03::/64"), netip.MustParsePrefix("fd03:0:0:1::/72"),
	}}
}

func TestPrograms(t *testing.T) {
	const four, six = unix.ETH_P_IP, unix.ETH_P_IPV6
	for _, c := range []struct {
		name    string
		row     desired.Fence
		p       packet
		in, out bool // passes
	}{
		{"to the gateway", desired.Fence{Localhost: true}, packet{four, "10.1.0.2", "10.1.0.1", 0}, true, true},
		{"to the world", desired.Fence{Localhost: true}, packet{four, "10.1.0.2", "192.0.2.1", 0}, true, true},
		{"to 127.0.0.1", desired.Fence{Localhost: true}, packet{four, "10.1.0.2", "127.0.0.1", 0}, false, true},
		{"to 127.255.255.255", desired.Fence{Localhost: true}, packet{four, "10.1.0.2", "127.255.255.255", 0}, false, true},
		{"to 128.0.0.0", desired.Fence{Localhost: true}, packet{four, "10.1.0.2", "128.0.0.0", 0}, true, true},
		{"from 127.0.0.1", desired.Fence{Localhost: true}, packet{four, "127.0.0.1", "10.1.0.1", 0}, false, true},
		{"an answer", desired.Fence{Localhost: true}, packet{four, "10.1.0.2", "127.0.0.1", 1<<27 | 5}, true, true},
		{"from 127.0.0.1, with a mark", desired.Fence{Localhost: true}, packet{four, "127.0.0.1", "10.1.0.1", 1 << 27}, false, true},
		{"IPv6", desired.Fence{Localhost: true}, packet{six, "fd01::2", "fd01::1", 0}, true, true},
		{"ARP", desired.Fence{Localhost: true}, packet{unix.ETH_P_ARP, "0.0.0.0", "0.0.0.0", 0}, true, true},
		{"a second tag", desired.Fence{Localhost: true}, packet{unix.ETH_P_8021Q, "0.0.0.0", "0.0.0.0", 0}, false, true},

		{"closed, IPv4", desired.Fence{Closed: true}, packet{four, "10.1.0.2", "10.1.0.1", 1 << 27}, false, false},
		{"closed, IPv6 link-local", desired.Fence{Closed: true}, packet{six, "fe80::2", "ff02::1", 0}, false, false},
		{"closed, ARP", desired.Fence{Closed: true}, packet{unix.ETH_P_ARP, "0.0.0.0", "0.0.0.0", 0}, false, false},

		{"internal, to the gateway", insideRow(), packet{four, "10.3.3.2", "10.3.0.1", 0}, true, true},
		{"internal, to the world", insideRow(), packet{four, "10.3.0.2", "192.0.2.1", 0}, false, true},
		{"internal, from the world", insideRow(), packet{four, "192.0.2.1", "10.3.0.2", 0}, true, false},
		{"internal, next subnet", insideRow(), packet{four, "10.3.4.0", "10.3.4.0", 0}, false, false},
		{"internal, broadcast", insideRow(), packet{four, "0.0.0.0", "255.255.255.255", 0}, true, true},
		{"internal, multicast", insideRow(), packet{four, "10.3.0.2", "224.0.0.251", 0}, true, true},
		{"internal, 127.0.0.1", insideRow(), packet{four, "10.3.0.2", "127.0.0.1", 0}, false, true},
		{"internal, IPv6 gateway", insideRow(), packet{six, "fd03::2", "fd03::1", 0}, true, true},
		{"internal, IPv6 link-local", insideRow(), packet{six, "fe80::2", "fe80::1", 0}, true, true},
		{"internal, IPv6 multicast", insideRow(), packet{six, "::", "ff02::1", 0}, true, true},
		{"internal, IPv6 world", insideRow(), packet{six, "fd03::2", "2001:db8::1", 0}, false, true},
		{"internal, IPv6 from the world", insideRow(), packet{six, "2001:db8::1", "fd03::2", 0}, true, false},
		{"internal, a prefix of odd length", insideRow(), packet{six, "fd03:0:0:1:ff::", "fd03:0:0:1:ff::1", 0}, true, true},
		{"internal, beyond it", insideRow(), packet{six, "fd03:0:0:1:100::", "fd03:0:0:1:100::1", 0}, false, false},
		{"internal, ARP", insideRow(), packet{unix.ETH_P_ARP, "0.0.0.0", "0.0.0.0", 0}, true, true},
		{"internal, a second tag", insideRow(), packet{unix.ETH_P_8021AD, "0.0.0.0", "0.0.0.0", 0}, false, false},
	} {
		in, out := programs(c.row)
		for _, d := range []struct {
			way  string
			code []unix.SockFilter
			want bool
		}{{"in", in, c.in}, {"out", out, c.out}} {
			if got := len(d.code) == 0 || run(t, d.code, c.p) == unspec; got != d.want {
				t.Errorf("%s, %s: passes %t", c.name, d.way, got)
			}
		}
	}
}

// TestPut: what is put is told back and found right, is written once, replaced in
// place, found missing, and gone after Delete with the qdisc.
func TestPut(t *testing.T) {
	kerneltest.New(t).Do(t, func() {
		writes := new(atomic.Int64)
		c, err := rtnl.Open(writes)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		index := bridge(t, c)
		step := func(what string, f func() error, wrote int64, row desired.Fence, drift string) {
			t.Helper()
			before := writes.Load()
			if err := f(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			why, err := Drift(c, index, row)
			if err != nil || why != drift || writes.Load()-before != wrote {
				t.Errorf("%s: drift %q, %v; %d writes, want %d", what, why, err, writes.Load()-before, wrote)
			}
		}
		put := func(row desired.Fence) func() error { return func() error { return Put(c, index, row) } }
		local, in := desired.Fence{Link: "br0", Localhost: true}, insideRow()
		step("nothing yet", func() error { return nil }, 0, local, "missing")
		step("put", put(local), 2, local, "")
		step("again", put(local), 0, local, "")
		step("another is wanted", func() error { return nil }, 0, in, "another program on the way to the host")
		step("replaced", put(in), 2, in, "")
		step("half gone", func() error { return remove(c, index, egress) }, 1, in, "another program on the way from the host")
		step("mended", put(in), 1, in, "")
		step("deleted", func() error { return Delete(c, index) }, 3, in, "missing")
		step("deleted again", func() error { return Delete(c, index) }, 0, in, "missing")
	})
}

func bridge(t *testing.T, c *rtnl.Conn) (index int) {
	t.Helper()
	w := link.Want{Row: desired.Link{Name: "br0", Type: desired.LinkBridge}, Instance: "i1", Owner: "network/a", Conn: c}
	if _, err := w.Put(); err != nil {
		t.Fatal(err)
	}
	i, err := link.Get(c, "br0")
	if err != nil {
		t.Fatal(err)
	}
	return i.Index
}

func TestEncoding(t *testing.T) {
	in, _ := programs(insideRow())
	if got := decode(encode(in)); !slices.Equal(got, in) {
		t.Errorf("%v, want %v", got, in)
	}
	if got := decode(append(encode(in[:1]), 1, 2, 3)); !slices.Equal(got, in[:1]) {
		t.Errorf("with half an instruction: %v", got)
	}
}

// TestJumpsAreShort: a jump reaches 255 instructions, and as many subnets as a network
// may have stay far from it.
func TestJumpsAreShort(t *testing.T) {
	in, _ := programs(insideRow())
	for i, op := range in {
		if i+1+int(op.Jt) >= len(in) && op.Jt > 0 || i+1+int(op.Jf) >= len(in) && op.Jf > 0 {
			t.Errorf("instruction %d jumps out of the program: %+v", i, op)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(make([]byte, headerLen))
	f.Add(append(header(1, Handle, ingress, info()), 8, 0, 1, 0, 'b', 'p', 'f', 0, 12, 0, 2, 0, 8, 0, 8, 0, 1, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parse(b); err == nil && len(encode(p.program)) > len(b) {
			t.Errorf("%d bytes of program out of %d", len(encode(p.program)), len(b))
		}
	})
}
