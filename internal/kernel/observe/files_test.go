package observe

import (
	"fmt"
	"testing"
)

func TestParseResolvers(t *testing.T) {
	got := resolversIn([]byte(
		"# nameserver 1.1.1.1\nsearch lan\nnameserver 192.168.1.1\n  nameserver\tfe80::1%eth0 trailing\nnameserver\nnameserver nonsense\nnameserver ::ffff:9.9.9.9\n"))
	if want := "[192.168.1.1 fe80::1 9.9.9.9]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func FuzzParseResolvers(f *testing.F) {
	f.Add("nameserver 10.0.0.1\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, a := range resolversIn([]byte(s)) {
			if !a.IsValid() || a.Zone() != "" {
				t.Errorf("%q gives %v", s, a)
			}
		}
	})
}
