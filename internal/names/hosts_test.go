package names

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func addrs(text ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range text {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func entry(addr string, names ...string) HostEntry {
	return HostEntry{netip.MustParseAddr(addr), names}
}

func TestHosts(t *testing.T) {
	own := OwnEntries("zdz", "", addrs("172.17.0.2", "fd00::2")...)
	extra := []HostEntry{entry("192.0.2.1", "a"), entry("192.0.2.2", "b"), entry("2001:db8::6", "six")}
	for _, c := range []struct {
		what string
		file HostsFile
		want string
	}{
		{"both families", HostsFile{IPv6: true, Extra: extra, Own: own}, `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
192.0.2.1	a
192.0.2.2	b
2001:db8::6	six
172.17.0.2	zdz
fd00::2	zdz
`},
		{"no IPv6", HostsFile{Extra: extra[:1], Own: own}, "127.0.0.1\tlocalhost\n192.0.2.1\ta\n172.17.0.2\tzdz\n"},
		{"link", HostsFile{Extra: []HostEntry{
			LinkEntry(addrs("172.17.0.2")[0], "web1", "0123456789ab", "nginx-1"),
			LinkEntry(addrs("172.17.0.2")[0], "nginx-1", "0123456789ab", "nginx-1"),
		}}, "127.0.0.1\tlocalhost\n172.17.0.2\tweb1 0123456789ab nginx-1\n172.17.0.2\tnginx-1 0123456789ab\n"},
	} {
		if got := string(Hosts(c.file)); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.what, got, c.want)
		}
	}
}

func TestOwnEntries(t *testing.T) {
	for _, c := range []struct{ host, domain, want string }{
		{"zdz", "", "[172.17.0.2\tzdz fd00::2\tzdz]"},
		{"zdz", "example.test", "[172.17.0.2\tzdz.example.test zdz fd00::2\tzdz.example.test zdz]"},
		{"zdz.example.test", "", "[172.17.0.2\tzdz.example.test zdz fd00::2\tzdz.example.test zdz]"},
		{"", "", "[]"},
	} {
		got := fmt.Sprint(OwnEntries(c.host, c.domain, netip.MustParseAddr("172.17.0.2"), netip.Addr{}, netip.MustParseAddr("fd00::2")))
		if got != c.want {
			t.Errorf("%s %s: got %q, want %q", c.host, c.domain, got, c.want)
		}
	}
}

func TestLinesComeAndGo(t *testing.T) {
	own := []HostEntry{entry("172.18.0.2", "zdz.test", "zdz")}
	more := []HostEntry{entry("172.17.0.3", "zdz.test", "zdz"), entry("fd00::3", "zdz.test", "zdz")}
	file := append(Hosts(HostsFile{Own: own}), "# mine\n172.17.0.3 zdz.test zdz\n10.0.0.1\tedited"...)
	added := AddLines(file, more)
	want := string(file) + "\n172.17.0.3\tzdz.test zdz\nfd00::3\tzdz.test zdz\n"
	if string(added) != want {
		t.Errorf("added:\n%s\nwant\n%s", added, want)
	}
	if again := AddLines(added, more); !bytes.Equal(again, added) {
		t.Errorf("added twice:\n%s", again)
	}
	removed := RemoveLines(added, more)
	if string(removed) != string(file)+"\n" {
		t.Errorf("removed:\n%s\nwant\n%s", removed, file)
	}
	if rest := RemoveLines([]byte("172.18.0.2\tzdz.test zdz"), own); len(rest) != 0 {
		t.Errorf("a last line without end stays: %q", rest)
	}
}

func TestMoveLines(t *testing.T) {
	file := "127.0.0.1\tlocalhost\n172.17.0.2\tweb1 0123 nginx-1\nfd00::2\tweb1 0123 nginx-1\n172.17.0.2\tother\n172.17.0.2 web1 0123 nginx-1\nweb1\tweb1 0123 nginx-1\n"
	want := strings.Replace(file, "172.17.0.2\tweb1", "172.17.0.9\tweb1", 1)
	if got := string(MoveLines([]byte(file), entry("172.17.0.9", "web1", "0123", "nginx-1"))); got != want {
		t.Errorf("got:\n%s\nwant\n%s", got, want)
	}
}

func TestParseExtraHost(t *testing.T) {
	for _, c := range []struct{ in, want, err string }{
		{"www.a.com:1.1.1.1", "www.a.com 1.1.1.1", ""},
		{"a=192.0.2.1", "a 192.0.2.1", ""},
		{"six=[2001:db8::6]", "six 2001:db8::6", ""},
		{"six:[2001:db8::6]", "six 2001:db8::6", ""},
		{"six:2001:db8::6", "six 2001:db8::6", ""},
		{"six=::1", "six ::1", ""},
		{"h:host-gateway", "h gateway", ""},
		{"h=host-gateway", "h gateway", ""},
		{"nonsense", "", `bad format for add-host: "nonsense"`},
		{"", "", `bad format for add-host: ""`},
		{":1.1.1.1", "", `bad format for add-host: ":1.1.1.1"`},
		{"a b:1.1.1.1", "", `bad format for add-host: "a b:1.1.1.1"`},
		{"www.a.com:300.1.1.1", "", `invalid IP address in add-host: "300.1.1.1"`},
		{"a:", "", `invalid IP address in add-host: ""`},
		{"a:[]", "", `invalid IP address in add-host: "[]"`},
		{"a:fe80::1%eth0", "", `invalid IP address in add-host: "fe80::1%eth0"`},
		{"a:1.1.1.1\n2.2.2.2 b", "", `invalid IP address in add-host: "1.1.1.1\n2.2.2.2 b"`},
	} {
		h, err := ParseExtraHost(c.in)
		got := h.Name + " " + h.Addr.String()
		if h.Gateway {
			got = h.Name + " gateway"
		}
		if c.err != "" {
			if err == nil || err.Error() != c.err || model.KindOf(err) != model.Invalid {
				t.Errorf("%q: error %v, want %s", c.in, err, c.err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%q: got %q, %v; want %q", c.in, got, err, c.want)
		}
	}
}

func TestHostGateway(t *testing.T) {
	hosts := []ExtraHost{{Name: "a", Addr: addrs("192.0.2.1")[0]}, {Name: "h", Gateway: true}, {Name: "z", Addr: addrs("::5")[0]}}
	got, err := ResolveExtraHosts(hosts, append(addrs("172.17.0.1", "fd00::1"), netip.Addr{}))
	if want := "[192.0.2.1\ta 172.17.0.1\th fd00::1\th ::5\tz]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if _, err := ResolveExtraHosts(hosts, []netip.Addr{{}}); err == nil || err.Error() != "unable to derive the IP value for host-gateway" {
		t.Errorf("got %v", err)
	}
	if _, err := ResolveExtraHosts(hosts[:1], nil); err != nil {
		t.Errorf("nobody asked for the gateway: %v", err)
	}
}

func FuzzParseExtraHost(f *testing.F) {
	for _, s := range []string{"a:1.1.1.1", "six=[::1]", "h:host-gateway", "=", "a:[]", "\n:1.1.1.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseExtraHost(s)
		if err != nil {
			return
		}
		entries, err := ResolveExtraHosts([]ExtraHost{h}, addrs("172.17.0.1"))
		if err != nil || len(entries) != 1 {
			t.Fatalf("%q: %v, %v", s, entries, err)
		}
		line := entries[0].String()
		if words := strings.Fields(line); len(words) != 2 || words[1] != h.Name || strings.Contains(line, "\n") {
			t.Fatalf("%q gives the line %q", s, line)
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("127.0.0.1\tlocalhost\n"), "zdz")
	f.Add([]byte("172.18.0.2\tzdz"), "zdz")
	f.Fuzz(func(t *testing.T, text []byte, host string) {
		if host == "" || strings.ContainsAny(host, "\n\r") {
			return
		}
		own := []HostEntry{entry("172.18.0.2", host)}
		before := RemoveLines(text, own)
		after := RemoveLines(AddLines(before, own), own)
		if !bytes.Equal(bytes.TrimSuffix(after, []byte("\n")), bytes.TrimSuffix(before, []byte("\n"))) {
			t.Fatalf("%q became %q", before, after)
		}
	})
}
