package trace

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
	nft "github.com/linkspan/linkspan/internal/kernel/nft/trace"
)

// packet is TCP from 192.0.2.2:40000 to 198.51.100.1:port, the first of a connection.
func packet(port uint16) *nft.Packet {
	frame := make([]byte, 14+20+20)
	binary.BigEndian.PutUint16(frame[12:], etherIPv4)
	ip := frame[14:]
	ip[0], ip[9] = 0x45, protocolTCP
	copy(ip[12:], []byte{192, 0, 2, 2})
	copy(ip[16:], []byte{198, 51, 100, 1})
	binary.BigEndian.PutUint16(ip[20:], 40000)
	binary.BigEndian.PutUint16(ip[22:], port)
	ip[33] = 2 // SYN
	return &nft.Packet{Frame: frame, In: nft.Link{Name: "eth0", Index: 2, Group: 5}, Out: nft.Link{Name: "br-a"}, Host: host{}}
}

// host has 198.51.100.1, on eth0.
type host struct{}

func (host) AddrType(a netip.Addr, link string) uint32 {
	switch {
	case a == netip.MustParseAddr("198.51.100.1") && (link == "" || link == "eth0"):
		return unix.RTN_LOCAL
	case a.IsMulticast():
		return unix.RTN_MULTICAST
	}
	return unix.RTN_UNICAST
}
func (host) WayBack(*nft.Packet) uint32       { return 2 }
func (host) NextHop(p *nft.Packet) netip.Addr { return p.Destination() }

// run takes a packet through the chain FORWARD of some lines.
func run(t *testing.T, p *nft.Packet, lines ...string) Result {
	t.Helper()
	text := "*filter\n:FORWARD ACCEPT [0:0]\n:ONE - [0:0]\n:TWO - [0:0]\n" + strings.Join(lines, "\n") + "\nCOMMIT\n"
	r, err := ruleset.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return Run(r, "filter", "FORWARD", p)
}

// TestMatches: a rule that drops, and whether it does.
func TestMatches(t *testing.T) {
	translated := packet(80)
	translated.Original = packet(8080).Frame
	answer := packet(80)
	answer.State = 2
	stray := packet(80)
	stray.State = 1
	marked := packet(80)
	marked.Mark = 0x15
	for _, c := range []struct {
		match string
		p     *nft.Packet
		want  string // drop, accept, doubt
	}{
		{"", packet(80), "drop"},
		{"-s 192.0.2.0/24", packet(80), "drop"}, {"! -s 192.0.2.0/24", packet(80), "accept"},
		{"-d 198.51.100.1", packet(80), "drop"}, {"-d 198.51.100.2", packet(80), "accept"}, {"-d 2001:db8::1", packet(80), "accept"},
		{"-i eth0", packet(80), "drop"}, {"-i eth+", packet(80), "drop"}, {"! -i eth+", packet(80), "accept"}, {"-i eth01", packet(80), "accept"},
		{"-o br-a", packet(80), "drop"}, {"! -o br-a", packet(80), "accept"},
		{"-p tcp", packet(80), "drop"}, {"-p udp", packet(80), "accept"}, {"! -p udp", packet(80), "drop"}, {"-p 6", packet(80), "drop"},
		{"-p tcp --dport 80", packet(80), "drop"}, {"-p tcp --dport 81:90", packet(80), "accept"}, {"-p tcp ! --dport 81", packet(80), "drop"}, {"-p tcp --sport 1024:", packet(80), "drop"},
		{"-p tcp --syn", packet(80), "drop"}, {"-p tcp --tcp-flags SYN,ACK SYN,ACK", packet(80), "accept"}, {"-p tcp --tcp-option 8", packet(80), "doubt"},
		{"-p tcp -m multiport --dports 22,70:90", packet(80), "drop"}, {"-p tcp -m multiport ! --dports 22,70:90", packet(80), "accept"}, {"-p tcp -m multiport --ports 40000", packet(80), "drop"},
		{"-m conntrack --ctstate NEW", packet(80), "drop"}, {"-m conntrack --ctstate RELATED,ESTABLISHED", answer, "drop"}, {"-m conntrack ! --ctstate RELATED,ESTABLISHED", packet(80), "drop"},
		{"-m state --state INVALID", stray, "drop"}, {"-m conntrack --ctstate DNAT", translated, "drop"}, {"-m conntrack --ctstate DNAT", packet(80), "accept"},
		{"-m conntrack --ctstate SNAT", packet(80), "doubt"},
		{"-p tcp -m conntrack --ctorigdstport 8080", translated, "drop"}, {"-p tcp -m conntrack --ctorigdstport 80", translated, "accept"}, {"-m conntrack --ctorigdst 198.51.100.1", translated, "drop"},
		{"-p tcp -m conntrack --ctorigdstport 80", stray, "accept"}, {"-m conntrack --ctdir ORIGINAL", packet(80), "doubt"},
		{"-m addrtype --dst-type LOCAL", packet(80), "drop"}, {"-m addrtype --dst-type UNICAST,MULTICAST", packet(80), "accept"}, {"-m addrtype ! --dst-type LOCAL --limit-iface-in", packet(80), "accept"},
		{"-m addrtype --src-type LOCAL", packet(80), "accept"}, {"-m addrtype --dst-type LOCAL --limit-iface-out", packet(80), "accept"},
		{"-m mark --mark 0x5/0xf", marked, "drop"}, {"-m mark --mark 0x5", marked, "accept"}, {"-m mark ! --mark 0x5", marked, "drop"},
		{"-m iprange --src-range 192.0.2.1-192.0.2.9", packet(80), "drop"}, {"-m iprange ! --dst-range 198.51.100.0-198.51.100.9", packet(80), "accept"},
		{"-p icmp -m icmp --icmp-type 8", packet(80), "accept"},
		{"-m devgroup --src-group 5", packet(80), "drop"}, {"-m devgroup --src-group 6", packet(80), "accept"},
		{"-m limit --limit 1/s", packet(80), "drop"}, {"-m hashlimit --hashlimit-above 1/s --hashlimit-name x", packet(80), "accept"},
		{"-m rpfilter --invert", packet(80), "accept"}, {"-m rpfilter --loose", packet(80), "doubt"},
		{"-m comment --comment x", packet(80), "drop"},
		{"-m set --match-set bad src", packet(80), "doubt"}, {"-m set --match-set bad src -i eth9", packet(80), "accept"}, {"-m statistic --mode random", packet(80), "doubt"},
	} {
		r := run(t, c.p, "-A FORWARD "+c.match+" -j DROP")
		got := string(r.Verdict)
		if r.Doubt {
			got = "doubt"
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.match, got, c.want)
		}
	}
}

// TestChains: jumps come back, a goto does not, RETURN ends a chain, and the policy is the
// last word.
func TestChains(t *testing.T) {
	for _, c := range []struct {
		want  nft.Verdict
		lines []string
	}{
		{nft.Accept, nil},
		{nft.Drop, []string{"-A FORWARD -j ONE", "-A FORWARD -j DROP", "-A ONE -j RETURN", "-A ONE -j ACCEPT"}},
		{nft.Accept, []string{"-A FORWARD -j ONE", "-A FORWARD -j DROP", "-A ONE -j TWO", "-A TWO -j ACCEPT"}},
		{nft.Drop, []string{"-A FORWARD -j ONE", "-A FORWARD -j DROP", "-A ONE -g TWO", "-A ONE -j ACCEPT", "-A TWO -s 10.0.0.0/8 -j ACCEPT"}},
		{nft.Accept, []string{"-A FORWARD -g ONE", "-A FORWARD -j DROP"}},
		{nft.Reject, []string{"-A FORWARD -j LOG --log-prefix x", "-A FORWARD -j REJECT --reject-with tcp-reset"}},
		{nft.Drop, []string{"-A FORWARD -j MARK --set-xmark 0x8/0x8", "-A FORWARD -m mark --mark 0x8/0x8 -j DROP"}},
		{nft.Queue, []string{"-A FORWARD -j NFQUEUE --queue-num 1"}},
	} {
		if r := run(t, packet(80), c.lines...); r.Verdict != c.want || r.Doubt {
			t.Errorf("%q: %s, doubt %t", c.lines, r.Verdict, r.Doubt)
		}
	}
	r := run(t, packet(80), "-A FORWARD -j ONE", "-A ONE -j ONE")
	if !r.Doubt || r.Verdict != nft.Accept {
		t.Errorf("round and round: %+v", r.Verdict)
	}
	if r := run(t, packet(80), "-A FORWARD -j NOBODYKNOWS", "-A FORWARD -j DROP"); !r.Doubt || r.Verdict != nft.Drop || len(r.Visits) != 2 {
		t.Errorf("an unknown target: %+v", r)
	}
	if r := Run(ruleset.Ruleset{}, "filter", "FORWARD", packet(80)); r.Verdict != nft.Accept {
		t.Errorf("no table: %s", r.Verdict)
	}
}

func TestTranslations(t *testing.T) {
	for target, want := range map[string]string{
		"DNAT --to-destination 10.0.0.2:80": "dnat 10.0.0.2:80", "DNAT --to-destination 10.0.0.2": "dnat 10.0.0.2:0",
		"DNAT --to-destination [fd00::2]:80": "dnat [fd00::2]:80", "DNAT --to-destination fd00::2": "dnat [fd00::2]:0",
		"DNAT --to-destination 10.0.0.2:80-89/8075": "dnat 10.0.0.2:85", "DNAT --to-destination :81": "dnat invalid AddrPort",
		"SNAT --to-source 192.0.2.9": "snat 192.0.2.9:0", "MASQUERADE": "masquerade invalid AddrPort", "REDIRECT --to-ports 81": "redirect invalid AddrPort",
	} {
		r := run(t, packet(8080), "-A FORWARD -p tcp -j "+target)
		if got := string(r.Verdict) + " " + r.To.String(); got != want || r.Doubt {
			t.Errorf("%s: %s", target, got)
		}
	}
	if r := run(t, packet(8080), "-A FORWARD -p tcp -j DNAT --to-destination :81"); r.To.Port() != 81 {
		t.Errorf("a port alone: %d", r.To.Port())
	}
	for _, target := range []string{"DNAT --to-destination 10.0.0.2-10.0.0.9", "DNAT --to-destination 10.0.0.2:80-90", "DNAT", "MARK --and-mark 1"} {
		if r := run(t, packet(8080), "-A FORWARD -p tcp -j "+target); !r.Doubt && target != "DNAT" {
			t.Errorf("%s: no doubt", target)
		}
	}
}

// FuzzRun: whatever rules and frames there are, there is an answer.
func FuzzRun(f *testing.F) {
	f.Add("-A FORWARD -p tcp -m tcp --dport 80 -m conntrack --ctstate DNAT --ctorigdstport 8080 -j DNAT --to-destination 10.0.0.2:80-90/8080", packet(80).Frame, uint32(0))
	f.Add("-A FORWARD -m addrtype --dst-type LOCAL -j ONE\n-A ONE -m iprange --src-range a-b -g ONE", []byte{1, 2}, uint32(1))
	f.Fuzz(func(t *testing.T, lines string, frame []byte, state uint32) {
		r, err := ruleset.Parse(strings.NewReader("*filter\n:FORWARD DROP [0:0]\n:ONE - [0:0]\n" + lines))
		if err != nil {
			return
		}
		p := &nft.Packet{Frame: frame, In: nft.Link{Name: "eth0"}, State: state, Host: host{}}
		if v := Run(r, "filter", "FORWARD", p).Verdict; v == goOn || v == giveBack {
			t.Errorf("verdict %q", v)
		}
	})
}
