package ports

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// text prints a specification as -p has it.
func text(s model.PortSpec) string {
	host := ""
	if s.Host.IsValid() {
		host = s.Host.String() + " "
	}
	ports := "any"
	if !s.HostPorts.IsZero() {
		ports = s.HostPorts.String()
	}
	return fmt.Sprintf("%s%s:%s/%s", host, ports, s.Container, s.Protocol)
}

func TestParse(t *testing.T) {
	local := netip.MustParseAddr("127.0.0.1")
	for _, c := range []struct {
		name  string
		asked []Asked
		want  string
	}{
		{"none", nil, ""},
		{"one", []Asked{{80, "tcp", netip.Addr{}, "8080"}}, "8080:80/tcp"},
		{"any", []Asked{{80, "tcp", local, ""}, {81, "tcp", local, "0"}}, "127.0.0.1 any:80-81/tcp"},
		{"one to one", []Asked{{82, "tcp", netip.Addr{}, "9002"}, {80, "tcp", netip.Addr{}, "9000"}, {81, "tcp", netip.Addr{}, "9001"}}, "9000-9002:80-82/tcp"},
		{"a gap", []Asked{{80, "tcp", netip.Addr{}, "9000"}, {82, "tcp", netip.Addr{}, "9002"}}, "9000:80/tcp, 9002:82/tcp"},
		{"crossed", []Asked{{80, "tcp", netip.Addr{}, "9001"}, {81, "tcp", netip.Addr{}, "9000"}}, "9001:80/tcp, 9000:81/tcp"},
		{"two hosts", []Asked{{80, "tcp", netip.Addr{}, "9201"}, {80, "tcp", netip.Addr{}, "9202"}}, "9201:80/tcp, 9202:80/tcp"},
		{"two protocols", []Asked{{53, "udp", netip.Addr{}, "53"}, {53, "tcp", netip.Addr{}, "53"}}, "53:53/tcp, 53:53/udp"},
		{"twice", []Asked{{80, "tcp", netip.Addr{}, "8080"}, {80, "tcp", netip.Addr{}, "8080"}}, "8080:80/tcp"},
		{"one of several", []Asked{{80, "tcp", netip.Addr{}, "9100-9101"}, {81, "tcp", netip.Addr{}, "9100-9101"}}, "9100-9101:80/tcp, 9100-9101:81/tcp"},
		{"exact first", []Asked{{1, "tcp", netip.Addr{}, ""}, {2, "tcp", netip.Addr{}, "8-9"}, {3, "tcp", netip.Addr{}, "8"}}, "8:3/tcp, 8-9:2/tcp, any:1/tcp"},
		{"addresses stand together", []Asked{{80, "tcp", local, "8080"}, {81, "tcp", netip.Addr{}, "7"}, {80, "tcp", netip.MustParseAddr("::1"), "8080"}},
			"127.0.0.1 8080:80/tcp, ::1 8080:80/tcp, 7:81/tcp"},
		{"mapped", []Asked{{80, "tcp", netip.MustParseAddr("::ffff:127.0.0.1"), "8080"}}, "127.0.0.1 8080:80/tcp"},
	} {
		specs, err := Parse(c.asked)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, s := range specs {
			got = append(got, text(s))
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, strings.Join(got, ", "), c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for want, a := range map[string]Asked{
		`invalid port specification: "0/tcp"`:     {0, "tcp", netip.Addr{}, "80"},
		`invalid port specification: "80/icmp"`:   {80, "icmp", netip.Addr{}, "80"},
		`invalid port specification: "99999"`:     {80, "tcp", netip.Addr{}, "99999"},
		`invalid port specification: "9-8"`:       {80, "tcp", netip.Addr{}, "9-8"},
		`invalid port specification: "0-8"`:       {80, "tcp", netip.Addr{}, "0-8"},
		`invalid port specification: "8-"`:        {80, "tcp", netip.Addr{}, "8-"},
		`invalid port specification: "http"`:      {80, "tcp", netip.Addr{}, "http"},
		"invalid host address of a published por": {80, "tcp", netip.MustParseAddr("fe80::1%eth0"), "80"},
	} {
		if _, err := Parse([]Asked{a}); model.KindOf(err) != model.Invalid || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: error %v, want %s", a, err, want)
		}
	}
}

// TestParseKeepsEveryPort expands what Parse made of random requests: the same
// pairs of ports come out, each once, in no more ranges than needed.
func TestParseKeepsEveryPort(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		want, got := map[string]bool{}, map[string]bool{}
		var asked []Asked
		for range 1 + rng.IntN(60) {
			a := Asked{Container: uint16(1 + rng.IntN(20)), Protocol: protocols[rng.IntN(2)], HostPort: fmt.Sprint(100 + rng.IntN(20))}
			asked = append(asked, a)
			want[fmt.Sprintf("%s %d %s", a.Protocol, a.Container, a.HostPort)] = true
		}
		specs, err := Parse(asked)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range specs {
			for n := range s.Container.Len() {
				key := fmt.Sprintf("%s %d %d", s.Protocol, int(s.Container.First)+n, int(s.HostPorts.First)+n)
				if got[key] {
					t.Fatalf("%s is there twice", key)
				}
				got[key] = true
			}
			for _, o := range specs[:i] {
				if follows(o, s) || follows(s, o) {
					t.Fatalf("%s and %s are not merged", text(o), text(s))
				}
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d pairs, want %d", len(got), len(want))
		}
		for key := range want {
			if !got[key] {
				t.Fatalf("%s is lost", key)
			}
		}
	}
}

func FuzzParseHostPorts(f *testing.F) {
	for _, seed := range []string{"", "0", "80", "8000-8010", "1-65535", "65536", "-", "7-3", "0x10", "+1", " 1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseHostPorts(text)
		switch {
		case err != nil && model.KindOf(err) != model.Invalid:
			t.Errorf("%q: error of kind %d", text, model.KindOf(err))
		case err == nil && !r.IsZero() && (r.First == 0 || r.Last < r.First):
			t.Errorf("%q: %v", text, r)
		case err == nil && !r.IsZero():
			if again, err := ParseHostPorts(r.String()); err != nil || again != r {
				t.Errorf("%q: %v reads back as %v (%v)", text, r, again, err)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{80, 1, 0, 80, 81, 1, 0, 81, 82, 2, 1, 9})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var asked []Asked
		for ; len(raw) >= 4; raw = raw[4:] {
			a := Asked{Container: uint16(raw[0]), Protocol: append(protocols[:], "icmp")[raw[1]%4], HostPort: fmt.Sprint(raw[3])}
			if raw[2]%2 == 1 {
				a.Host = netip.AddrFrom4([4]byte{127, 0, 0, raw[2]})
			}
			asked = append(asked, a)
		}
		specs, err := Parse(asked)
		if err != nil {
			return
		}
		for _, s := range specs {
			if s.Container.First == 0 || s.Container.Last < s.Container.First || !s.HostPorts.IsZero() && s.HostPorts.Len() < s.Container.Len() {
				t.Errorf("specification %s of %v", text(s), asked)
			}
		}
	})
}

// table answers from a list.
func table(list []Taken) Table {
	return func(r model.PortRange) iter.Seq[Taken] {
		return func(yield func(Taken) bool) {
			for _, t := range list {
				if t.Ports.Overlaps(r) && !yield(t) {
					return
				}
			}
		}
	}
}

// TestFind compares with a search port by port.
func TestFind(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	hosts := []netip.Addr{netip.IPv4Unspecified(), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.IPv6Unspecified(), netip.IPv6Loopback()}
	found := 0
	for range 3000 {
		low := 1 + rng.IntN(65000)
		w := Wish{Length: 1 + rng.IntN(8), From: model.PortRange{First: uint16(low), Last: uint16(min(low+rng.IntN(1+rng.IntN(600)), 65535))}}
		w.Start = w.From.First + uint16(rng.IntN(w.From.Len()))
		for range 1 + rng.IntN(2) {
			w.Addrs = append(w.Addrs, hosts[rng.IntN(len(hosts))])
		}
		var list []Taken
		for range rng.IntN(200) {
			at := low + rng.IntN(300)
			if at > 65535 {
				continue
			}
			list = append(list, Taken{hosts[rng.IntN(len(hosts))], model.PortRange{First: uint16(at), Last: uint16(min(at+rng.IntN(20), 65535))}})
		}
		got, ok := Find(w, table(list))
		want, wantOK := slow(w, list)
		if ok != wantOK || ok && got != want {
			t.Fatalf("%+v with %v: %d %t, want %d %t", w, list, got, ok, want, wantOK)
		}
		if ok {
			found++
		}
	}
	if found < 500 || found > 2900 {
		t.Errorf("%d of 3000 searches found something: the test is too easy or too hard", found)
	}
}

func slow(w Wish, list []Taken) (uint16, bool) {
	free := func(port int) bool {
		return port <= int(w.From.Last) && !slices.ContainsFunc(list, func(t Taken) bool {
			return t.Ports.Overlaps(model.Port(uint16(port))) && slices.ContainsFunc(w.Addrs, func(a netip.Addr) bool { return Overlap(a, t.Addr) })
		})
	}
	first, n := int(w.From.First), w.From.Len()
	start := int(w.Start)
	if start+w.Length-1 > int(w.From.Last) {
		start = first
	}
next:
	for i := range n {
		at := first + (start-first+i)%n
		for k := range w.Length {
			if !free(at + k) {
				continue next
			}
		}
		return uint16(at), true
	}
	return 0, false
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"0.0.0.0", "10.0.0.1", true}, {"10.0.0.1", "10.0.0.1", true}, {"10.0.0.1", "10.0.0.2", false},
		{"0.0.0.0", "::", false}, {"::", "::1", true}, {"127.0.0.1", "::1", false},
	} {
		a, b := netip.MustParseAddr(c.a), netip.MustParseAddr(c.b)
		if Overlap(a, b) != c.want || Overlap(b, a) != c.want {
			t.Errorf("%s and %s: want %t", a, b, c.want)
		}
	}
}

func TestEphemeral(t *testing.T) {
	kernels := model.PortRange{First: 32768, Last: 60999}
	if Ephemeral(kernels) != kernels || Ephemeral(model.PortRange{}) != (model.PortRange{First: 49153, Last: 65535}) {
		t.Error("the kernel's range counts, and RFC 6335's if it is not known")
	}
}
