package networks

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func TestPickAnAddressOfABridge(t *testing.T) {
	for _, c := range []struct {
		addrs, fixed string
		family       model.Family
		want         string
	}{
		{"10.1.0.1/24 10.2.0.1/24", "", model.IPv4, "10.1.0.1/24"},
		{"10.1.0.1/24 10.2.0.1/24", "10.2.0.128/25", model.IPv4, "10.2.0.1/24"},
		{"10.1.0.1/24 10.2.0.1/24", "10.3.0.0/25", model.IPv4, "10.1.0.1/24"},
		{"10.1.0.1/24 fe80::1/64 fd00::1/64", "", model.IPv6, "fd00::1/64"},
		{"10.1.0.1/24 fe80::1/64", "", model.IPv6, "invalid Prefix"},
		{"fe80::1/64 fd00::1/64", "fe80::/64", model.IPv6, "fe80::1/64"},
		{"fe80::1/64 fe80:1234::88/56", "fe80:1234::/64", model.IPv6, "fe80:1234::88/56"},
		{"10.9.0.1/24 10.1.0.1/24", "10.0.0.0/15", model.IPv4, "10.1.0.1/24"},
		{"", "", model.IPv4, "invalid Prefix"},
	} {
		var addrs []netip.Prefix
		for _, a := range strings.Fields(c.addrs) {
			addrs = append(addrs, netip.MustParsePrefix(a))
		}
		var fixed netip.Prefix
		if c.fixed != "" {
			fixed = netip.MustParsePrefix(c.fixed)
		}
		if got := pick(addrs, fixed, c.family).String(); got != c.want {
			t.Errorf("%s, fixed %q, IPv%d: %s, want %s", c.addrs, c.fixed, c.family, got, c.want)
		}
	}
}
