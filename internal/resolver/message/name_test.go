package message

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestReverseAddr(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"4.3.2.1.in-addr.arpa", "1.2.3.4"},
		{"0.0.0.0.in-addr.arpa", "0.0.0.0"},
		{"255.0.0.127.in-addr.arpa", "127.0.0.255"},
		{"256.0.0.127.in-addr.arpa", ""},
		{"04.3.2.1.in-addr.arpa", ""},
		{"3.2.1.in-addr.arpa", ""},
		{"5.4.3.2.1.in-addr.arpa", ""},
		{".3.2.1.in-addr.arpa", ""},
		{"4.3.2..in-addr.arpa", ""},
		{"in-addr.arpa", ""},
		{strings.TrimSuffix(reverseName(t, "fd00:1:2::abcd"), "."), "fd00:1:2::abcd"},
		{"1" + strings.TrimSuffix(reverseName(t, "fd00::1"), "."), ""},
		{"g" + strings.TrimSuffix(reverseName(t, "fd00::1"), ".")[1:], ""},
		{"web", ""},
	} {
		a, ok := ReverseAddr([]byte(c.in))
		if ok != (c.want != "") || ok && a.String() != c.want {
			t.Errorf("%s: got %s %t, want %q", c.in, a, ok, c.want)
		}
	}
}

func reverseName(t *testing.T, a string) string {
	t.Helper()
	name, err := dns.ReverseAddr(a)
	if err != nil {
		t.Fatal(err)
	}
	return name
}
