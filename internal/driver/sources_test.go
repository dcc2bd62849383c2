package driver

import (
	"fmt"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// TestSources: the address under which a network's traffic leaves.
func TestSources(t *testing.T) {
	for _, c := range []struct{ option4, option6, want string }{
		{"", "", "map[] <nil>"},
		{"192.0.2.1", "", "map[4:192.0.2.1] <nil>"},
		{"::ffff:192.0.2.1", "2001:db8::1", "map[4:192.0.2.1 6:2001:db8::1] <nil>"},
		{"nonsense", "", "map[] failed to parse com.docker.network.host_ipv4 value: nonsense (nil ip)"},
		{"2001:db8::1", "", "map[] failed to parse com.docker.network.host_ipv4 value: 2001:db8::1 (not an IPv4 address that a host can have)"},
		{"0.0.0.0", "", "map[] failed to parse com.docker.network.host_ipv4 value: 0.0.0.0 (not an IPv4 address that a host can have)"},
		{"", "ff02::1", "map[] failed to parse com.docker.network.host_ipv6 value: ff02::1 (not an IPv6 address that a host can have)"},
		{"", "fe80::1%eth0", "map[] failed to parse com.docker.network.host_ipv6 value: fe80::1%eth0 (not an IPv6 address that a host can have)"},
	} {
		n := model.Network{Options: map[string]string{}}
		if c.option4 != "" {
			n.Options[OptionSource4] = c.option4
		}
		if c.option6 != "" {
			n.Options[OptionSource6] = c.option6
		}
		got, err := Sources(n)
		if text := fmt.Sprint(got, " ", err); text != c.want || err != nil && model.KindOf(err) != model.Invalid {
			t.Errorf("%q, %q: %s, want %s", c.option4, c.option6, text, c.want)
		}
	}
}
