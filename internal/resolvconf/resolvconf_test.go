package resolvconf

import (
	"net/netip"
	"reflect"
	"testing"
)

func addrs(texts ...string) (out []netip.Addr) {
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text string
		want Conf
	}{
		{"", Conf{}},
		{"nameserver 192.0.2.1\nnameserver\t2001:db8::1 # two\n  nameserver fe80::1%eth0", Conf{Servers: addrs("192.0.2.1", "2001:db8::1", "fe80::1%eth0")}},
		{"# nameserver 192.0.2.1\n;nameserver 192.0.2.1\nnameserver\nnameserver 1.2.3\r\n", Conf{Bad: []string{"1.2.3"}}},
		{"domain a.test b.test\n", Conf{Search: []string{"a.test"}}},
		{"domain a.test\nsearch b.test c.test\n", Conf{Search: []string{"b.test", "c.test"}}},
		{"search b.test c.test ; no\ndomain a.test\n", Conf{Search: []string{"a.test"}}},
		{"options ndots:1\noptions rotate # all\n", Conf{Options: []string{"ndots:1", "rotate"}}},
		{"sortlist 10.0.0.0/8\nlookup file bind\n", Conf{Other: []string{"sortlist 10.0.0.0/8", "lookup file bind"}}},
	} {
		if got := Parse([]byte(c.text)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %+v, want %+v", c.text, got, c.want)
		}
	}
}

func TestOnlyStub(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "nameserver 127.0.0.53": true, "nameserver 127.0.0.53\nnameserver 192.0.2.1": false, "nameserver 127.0.0.54": false,
	} {
		if got := Parse([]byte(text)).OnlyStub(); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

// FuzzParse expects that whatever is in the file, servers are addresses and the others
// are none.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "nameserver 192.0.2.1\n", "nameserver fe80::1%eth0\r\nnameserver\t::1", "nameserver 1.2.3.4 # x\x00", "options ndots:\nsearch ."} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := Parse(text)
		for _, a := range c.Servers {
			if !a.IsValid() {
				t.Fatalf("%q: %+v", text, c)
			}
		}
		for _, bad := range c.Bad {
			if _, err := netip.ParseAddr(bad); err == nil {
				t.Fatalf("%q: %s is an address", text, bad)
			}
		}
	})
}
