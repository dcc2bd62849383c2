package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func TestPickTheAddressOfAUsersBridge(t *testing.T) {
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

func TestABridgeThatIsNotThere(t *testing.T) {
	_, err := onUserBridge(parse(t, "--bridge=br-not-there"))
	if err == nil || err.Error() != "bridge device with non default name br-not-there must be created manually" {
		t.Error(err)
	}
	if c, err := onUserBridge(parse(t, "--bridge=none")); err != nil || c.BIP.IsValid() {
		t.Error(c.BIP, err)
	}
}
