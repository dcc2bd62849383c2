package driver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func withRoutes(text string) model.Network {
	return model.Network{Options: map[string]string{OptionDNSRoutes: text}}
}

func TestDNSRoutes(t *testing.T) {
	for _, c := range []struct{ text, want, err string }{
		{"", "[]", ""},
		{"corp.example=10.0.0.53", "[{corp.example [10.0.0.53]}]", ""},
		{" Corp.Example. = 10.0.0.53 , fd00::53 ; _x.lab=::ffff:10.1.0.1;", "[{corp.example [10.0.0.53 fd00::53]} {_x.lab [10.1.0.1]}]", ""},
		{"corp.example", "", "write DOMAIN=ADDRESS"},
		{"=10.0.0.53", "", "invalid domain name"},
		{".=10.0.0.53", "", "invalid domain name"},
		{"a..b=10.0.0.53", "", "invalid domain name"},
		{"a b=10.0.0.53", "", "invalid domain name"},
		{strings.Repeat("a", 64) + "=10.0.0.53", "", "invalid domain name"},
		{strings.Repeat("a.", 127) + "a=10.0.0.53", "", "invalid domain name"},
		{"a=10.0.0.53;A.=10.0.0.54", "", "the domain is there twice"},
		{"a=", "", "invalid name server of a"},
		{"a=ns.example", "", "invalid name server of a"},
		{"a=fe80::1%eth0", "", "invalid name server of a"},
		{"a=0.0.0.0", "", "invalid name server of a"},
		{"a=" + strings.Repeat("10.0.0.1,", 8) + "10.0.0.9", "", "invalid name server of a"},
	} {
		got, err := DNSRoutes(withRoutes(c.text))
		switch {
		case c.err == "" && (err != nil || fmt.Sprint(got) != c.want):
			t.Errorf("%q: %v, %v; want %s", c.text, got, err, c.want)
		case c.err != "" && (model.KindOf(err) != model.Invalid || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), OptionDNSRoutes)):
			t.Errorf("%q: error %v, want %q", c.text, err, c.err)
		}
	}
	var many []string
	for i := range maxRoutes + 1 {
		many = append(many, fmt.Sprintf("d%d=10.0.0.1", i))
	}
	if _, err := DNSRoutes(withRoutes(strings.Join(many, ";"))); model.KindOf(err) != model.Invalid {
		t.Errorf("too many domains: %v", err)
	}
}

func FuzzDNSRoutes(f *testing.F) {
	f.Add("corp.example=10.0.0.53,10.0.0.54;lab.example=10.1.0.1")
	f.Add("a=fe80::1%eth0;;=\x00")
	f.Fuzz(func(t *testing.T, text string) {
		routes, err := DNSRoutes(withRoutes(text))
		if err != nil {
			return
		}
		for _, r := range routes {
			if len(r.Servers) == 0 || !validDomain(r.Domain) {
				t.Fatalf("%q gives %v", text, r)
			}
		}
	})
}
