package packetfilter

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/linkspan/linkspan/internal/facts"
)

// packet is a frame, by what filters ask about.
type packet struct {
	kind             uint32 // EtherType
	protocol         uint32
	src, dst         netip.Addr
	srcPort, dstPort uint16
	later            bool // not the first part of an IPv4 packet
	options          int  // words behind IPv4's header
}

// frame is the packet in bytes, written without the package's own offsets.
func (p packet) frame() []byte {
	b := make([]byte, 12)
	b = binary.BigEndian.AppendUint16(b, uint16(p.kind))
	ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, p.srcPort), p.dstPort)
	switch p.kind {
	case typeARP:
		b = append(b, 0, 1, 8, 0, 6, 4, 0, 1, 2, 2, 2, 2, 2, 2)
		b = append(b, p.src.AsSlice()...)
		b = append(b, 3, 3, 3, 3, 3, 3)
		return append(b, p.dst.AsSlice()...)
	case typeIPv4:
		part := uint16(0x4000)
		if p.later {
			part = 185
		}
		b = append(b, byte(0x45+p.options), 0, 0, 60, 0, 0)
		b = binary.BigEndian.AppendUint16(b, part)
		b = append(b, 64, byte(p.protocol), 0, 0)
		b = append(append(b, p.src.AsSlice()...), p.dst.AsSlice()...)
		return append(append(b, make([]byte, 4*p.options)...), append(ports, make([]byte, 20)...)...)
	case typeIPv6:
		b = append(b, 0x60, 0, 0, 0, 0, 24, byte(p.protocol), 64)
		b = append(append(b, p.src.AsSlice()...), p.dst.AsSlice()...)
		return append(b, append(ports, make([]byte, 20)...)...)
	}
	return append(b, make([]byte, 40)...)
}

// condition is a filter and what it means, said again without a program.
type condition struct {
	text string
	is   func(packet) bool
}

func (p packet) ip() bool { return p.kind == typeIPv4 || p.kind == typeIPv6 }

// primitives are conditions without parts, about few enough addresses and ports that random
// packets meet them.
func primitives() (out []condition) {
	for _, e := range []struct {
		text           string
		kind, protocol uint32
	}{{"ip", typeIPv4, 0}, {"ip6", typeIPv6, 0}, {"arp", typeARP, 0}, {"icmp", typeIPv4, protoICMP}, {"icmp6", typeIPv6, protoICMP6}} {
		out = append(out, condition{e.text, func(p packet) bool { return p.kind == e.kind && (e.protocol == 0 || p.protocol == e.protocol) }})
	}
	either := func(d string, src, dst bool) bool { return d != "dst" && src || d != "src" && dst }
	for _, d := range []string{"", "src", "dst"} {
		for _, prefix := range []string{"10.0.0.1/32", "10.0.0.0/31", "10.0.0.0/8", "0.0.0.0/0", "fd00::1/128", "fd00::/127", "fd00:0:8000::/33", "::/0"} {
			n := netip.MustParsePrefix(prefix)
			text := d + " net " + prefix
			if n.IsSingleIP() {
				text = d + " host " + n.Addr().String()
			}
			out = append(out, condition{text, func(p packet) bool {
				return (p.ip() || p.kind == typeARP) && p.src.Is4() == n.Addr().Is4() && either(d, n.Contains(p.src), n.Contains(p.dst))
			}})
		}
		for _, c := range []struct {
			protocol    string
			number      uint32
			first, last uint16
		}{{"", 0, 80, 80}, {"tcp", protoTCP, 80, 80}, {"udp", protoUDP, 80, 82}, {"sctp", protoSCTP, 0, 65535}, {"", 0, 81, 82}} {
			text := fmt.Sprintf("%s %s port %d-%d", c.protocol, d, c.first, c.last)
			if c.first == c.last {
				text = fmt.Sprintf("%s %s port %d", c.protocol, d, c.first)
			}
			out = append(out, condition{text, func(p packet) bool {
				in := func(port uint16) bool { return port >= c.first && port <= c.last }
				fits := p.protocol == c.number || c.number == 0 && (p.protocol == protoTCP || p.protocol == protoUDP || p.protocol == protoSCTP)
				return p.ip() && fits && !(p.kind == typeIPv4 && p.later) && either(d, in(p.srcPort), in(p.dstPort))
			}})
		}
	}
	for text, number := range map[string]uint32{"tcp": protoTCP, "udp": protoUDP, "sctp": protoSCTP} {
		out = append(out, condition{text, func(p packet) bool { return p.ip() && p.protocol == number }})
	}
	return out
}

// combine makes a condition of several, at random.
func combine(r *rand.Rand, from []condition, depth int) condition {
	if depth == 0 || r.IntN(4) == 0 {
		return from[r.IntN(len(from))]
	}
	a, b := combine(r, from, depth-1), combine(r, from, depth-1)
	switch r.IntN(3) {
	case 0:
		return condition{"(" + a.text + ") and (" + b.text + ")", func(p packet) bool { return a.is(p) && b.is(p) }}
	case 1:
		return condition{"(" + a.text + ")||(" + b.text + ")", func(p packet) bool { return a.is(p) || b.is(p) }}
	}
	return condition{"not (" + a.text + ")", func(p packet) bool { return !a.is(p) }}
}

func randomPacket(r *rand.Rand) packet {
	p := packet{
		kind: []uint32{typeIPv4, typeIPv4, typeIPv6, typeIPv6, typeARP, 0x88cc}[r.IntN(6)], protocol: []uint32{protoICMP, protoTCP, protoUDP, protoSCTP, protoICMP6, 47}[r.IntN(6)],
		srcPort: uint16(79 + r.IntN(5)), dstPort: uint16(79 + r.IntN(5)), later: r.IntN(4) == 0, options: r.IntN(3),
	}
	pick := func() netip.Addr {
		words := []string{"10.0.0.0", "10.0.0.1", "10.0.0.2", "11.0.0.1"}
		if p.kind == typeIPv6 {
			words = []string{"fd00::", "fd00::1", "fd00::2", "fd00:0:8000::1", "fe00::1"}
		}
		return netip.MustParseAddr(words[r.IntN(len(words))])
	}
	p.src, p.dst = pick(), pick()
	return p
}

func program(t *testing.T, text string) *bpf.VM {
	t.Helper()
	f, err := Parse(text, nil)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	code, err := f.Compile(nil, 65535)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return vm
}

// TestFiltersMeanWhatTheySay runs filters made at random over packets made at random, and
// compares with what the words mean.
func TestFiltersMeanWhatTheySay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	base := primitives()
	conditions := base
	for range 400 {
		conditions = append(conditions, combine(r, base, 1+r.IntN(5)))
	}
	taken := 0
	for _, c := range conditions {
		vm := program(t, c.text)
		for range 150 {
			p := randomPacket(r)
			n, err := vm.Run(p.frame())
			if err != nil {
				t.Fatalf("%s: %v", c.text, err)
			}
			if (n > 0) != c.is(p) {
				t.Fatalf("%s of %+v: %d bytes are kept, want %t", c.text, p, n, c.is(p))
			}
			if n > 0 {
				taken++
			}
		}
	}
	if taken < 1000 {
		t.Errorf("only %d packets were taken: the test says nothing", taken)
	}
}

// TestPrecedence: "and" binds closer than "or", "not" closest.
func TestPrecedence(t *testing.T) {
	p := packet{kind: typeIPv4, protocol: protoTCP, src: netip.MustParseAddr("10.0.0.1"), dst: netip.MustParseAddr("10.0.0.2"), srcPort: 80}.frame()
	for text, want := range map[string]bool{
		"": true, "  ": true, "tcp or udp and arp": true, "(tcp or udp) and arp": false, "not udp and tcp": true, "not (udp or tcp)": false, "!udp&&arp": false,
		"! udp && tcp": true, "port 80 and not host 10.0.0.3": true, "src host ::ffff:10.0.0.1": true, "portrange 80-90": true,
	} {
		if text == "!udp&&arp" { // one word, as in no shell
			if _, err := Parse(text, nil); err == nil {
				t.Errorf("%s was read", text)
			}
			continue
		}
		n, err := program(t, text).Run(p)
		if err != nil || (n > 0) != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"tcp and":                       "it ends where a condition is to stand",
		"tcp udp":                       `unexpected "udp"`,
		"(tcp":                          "a parenthesis is not closed",
		"tcp)":                          `unexpected ")"`,
		"host nobody":                   `"nobody" is no address, and no running container`,
		"net 10.0.0.1":                  `"10.0.0.1" is no prefix`,
		"port http":                     `"http" is no port`,
		"port 90-80":                    `"90-80" is no port`,
		"port 65536":                    `"65536" is no port`,
		"tcp host 10.0.0.1":             `unexpected "host"`,
		"src 10.0.0.1":                  `"10.0.0.1" is not known`,
		"ether host 1":                  `"ether" is not known`,
		"host fe80::1%eth0":             "is no address",
		"src":                           `"" is not known`,
		strings.Repeat("(", 100) + "ip": "more than 64 parentheses",
		strings.Repeat("ip or ", 1000):  "longer than 4096 bytes",
	} {
		_, err := Parse(text, func(string) []netip.Addr { return nil })
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "write ip, ip6") && len(text) < maxText {
			t.Errorf("%.40s: %v", text, err)
		}
	}
}

// TestNames: a name stands for all addresses that it has.
func TestNames(t *testing.T) {
	f, err := Parse("dst host web", func(name string) []netip.Addr {
		if name != "web" {
			t.Errorf("asked for %q", name)
		}
		return []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")}
	})
	if err != nil {
		t.Fatal(err)
	}
	code, _ := f.Compile(nil, 100)
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	for dst, want := range map[string]int{"10.0.0.2": 100, "10.0.0.1": 0, "fd00::2": 100, "fd00::1": 0} {
		p := packet{kind: typeIPv4, dst: netip.MustParseAddr(dst)}
		if p.src = netip.MustParseAddr("10.0.0.9"); p.dst.Is6() {
			p.kind, p.src = typeIPv6, netip.MustParseAddr("fd00::9")
		}
		if n, err := vm.Run(append(p.frame(), make([]byte, 200)...)); err != nil || n != want {
			t.Errorf("to %s: %d, %v", dst, n, err)
		}
	}
}

// TestLongPrograms: jumps reach over more than 255 instructions, and what the kernel would
// not take is refused.
func TestLongPrograms(t *testing.T) {
	long := strings.TrimSuffix(strings.Repeat("port 1 or ", 40), " or ") + " or port 80"
	p := packet{kind: typeIPv6, protocol: protoUDP, src: netip.MustParseAddr("fd00::1"), dst: netip.MustParseAddr("fd00::2"), dstPort: 80}
	if n, err := program(t, long).Run(p.frame()); err != nil || n == 0 {
		t.Errorf("%d, %v", n, err)
	}
	if p.dstPort = 2; true {
		if n, err := program(t, long).Run(p.frame()); err != nil || n != 0 {
			t.Errorf("%d, %v", n, err)
		}
	}
	f, err := Parse(strings.TrimSuffix(strings.Repeat("port 1 or ", 400), " or "), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Compile(nil, 100); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a program that the kernel does not take: %v", err)
	}
}

// TestPlaces: the program for several interfaces is one that the kernel can be given. What
// it does with them only the kernel knows: package capture tries that.
func TestPlaces(t *testing.T) {
	var places []facts.Place
	for i := range 300 {
		places = append(places, facts.Place{Index: i + 1, Incoming: i%2 == 0, Outgoing: i%3 == 0})
	}
	code, err := Filter{}.Compile(places, 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bpf.Assemble(code); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"tcp port 80 and not host web", "(ip or ip6) and !arp", "src net 10.0.0.0/8 || dst portrange 1-2", "not not ip", "host ::1"} {
		f.Add(text, packet{kind: typeIPv4, protocol: protoTCP, src: netip.MustParseAddr("10.0.0.1"), dst: netip.MustParseAddr("10.0.0.2")}.frame())
	}
	f.Fuzz(func(t *testing.T, text string, frame []byte) {
		filter, err := Parse(text, func(name string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("10.0.0.1")} })
		if err != nil {
			return
		}
		code, err := filter.Compile(nil, 64)
		if err != nil {
			return
		}
		if _, err := bpf.Assemble(code); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		vm, err := bpf.NewVM(code)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if _, err := vm.Run(frame); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
