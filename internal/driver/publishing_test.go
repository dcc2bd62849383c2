package driver

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// TestPublishPolicies: a policy publishes at no address that it does not allow, and the
// zero one is Docker's.
func TestPublishPolicies(t *testing.T) {
	var own []netip.Addr
	for _, a := range []string{"10.1.2.3", "172.31.0.1", "172.32.0.1", "192.168.9.9", "192.0.2.1", "100.64.0.1", "fd12::1", "2001:db8::1", "fe80::1"} {
		own = append(own, netip.MustParseAddr(a))
	}
	for policy, want := range map[PublishPolicy][2]int{"": {1, 1}, PublishAny: {1, 1}, PublishPrivate: {4, 2}, PublishLocalhost: {1, 1}} {
		for i, f := range model.Families {
			hosts := policy.Hosts(f, own)
			if len(hosts) != want[i] || slices.ContainsFunc(hosts, func(a netip.Addr) bool { return !policy.Allows(a) || model.FamilyOf(a) != f }) {
				t.Errorf("%q, IPv%d: %v", policy, f, hosts)
			}
		}
	}
	for _, text := range []string{"", "all", "Any", "0.0.0.0"} {
		if p, err := ParsePublishPolicy(text); model.KindOf(err) != model.Invalid {
			t.Errorf("%q: %q, %v", text, p, err)
		}
	}
}
