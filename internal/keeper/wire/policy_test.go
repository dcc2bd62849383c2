package wire

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
)

// policies has one of each type, with something in every field.
func policies() []desired.Row {
	a, b := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd00::2")
	return []desired.Row{
		desired.BridgePolicy{Bridge: "br-out", ICC: true},
		desired.BridgePolicy{Bridge: "br-in", Internal: true, ICC: true},
		desired.Masquerade{Bridge: "br-out", Subnet: netip.MustParsePrefix("10.1.0.0/16"), Source: netip.MustParseAddr("198.51.100.1")},
		desired.Masquerade{Bridge: "br-out", Subnet: netip.MustParsePrefix("fd00::/64")},
		desired.ForwardDrop{IPv4: true, IPv6: true},
		desired.PortSecurity{Port: "veth1", Bridge: "br-out", MAC: "02:42:00:00:00:01", Addrs: []netip.Addr{a, b}, Mode: desired.PortCapable, Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}},
		desired.Identity{Bridge: "br-out", MACs: []string{"02:42:00:00:00:02"}, Addrs: []netip.Addr{a}, Gateways: []netip.Addr{b}},
		desired.Elsewhere{Port: "veth1", Addrs: []netip.Addr{a}},
		desired.Publish{Protocol: "tcp", Host: netip.IPv4Unspecified(), First: 80, Last: 90, To: a, ToFirst: 8080, Bridge: "br-out"},
		desired.Served{Protocol: "udp", Host: netip.IPv6Unspecified(), First: 53, Last: 53},
	}
}

// TestPoliciesSurvive: what a keeper restores is what was asked for, and no type is
// forgotten.
func TestPoliciesSurvive(t *testing.T) {
	var deltas []desired.Delta
	for _, row := range append(policies(), desired.Types()...) {
		if row.Key().Kind == desired.KindPolicy {
			deltas = append(deltas, desired.Delta{Owner: "o", New: row}, desired.Delta{Owner: "o", Old: row})
		}
	}
	back, err := UnpackDeltas(PackDeltas(deltas))
	if err != nil || !reflect.DeepEqual(back, deltas) {
		t.Errorf("%v\ngot  %v\nwant %v", err, back, deltas)
	}
	names := map[string]bool{}
	for _, p := range policyNames() {
		if names[p.name] {
			t.Errorf("two types are called %s", p.name)
		}
		names[p.name] = true
	}
}

// TestUnknownPolicy: a type that a later release has is refused, not left out.
func TestUnknownPolicy(t *testing.T) {
	for _, p := range []Policy{{Type: "later"}, {Type: "publish", Body: []byte(`{"First": "x"}`)}, {Type: "publish", Body: []byte(`{"To": "nowhere"}`)}} {
		if _, err := (Row{Policy: &p}).Unpack(); err == nil || !strings.Contains(err.Error(), "policy") {
			t.Errorf("%s: %v", p.Type, err)
		}
	}
}

// TestPoliciesAreHandedOverApart: in parts of their own, with what they are for, so that a
// release that knows none of it takes all the rest.
func TestPoliciesAreHandedOverApart(t *testing.T) {
	whole := Inventory{Descriptors: 2, Firewall: &Firewall{Instance: "i", Backend: "nftables"}, Outputs: make([]HandedOutput, 2)}
	for _, row := range policies() {
		packed, _ := PackRow("o", row)
		whole.Policies = append(whole.Policies, packed)
	}
	for _, size := range []int{1, 300, 1 << 20} {
		parts := slices.Collect(whole.Parts(size))
		got := parts[0]
		for _, part := range parts[1:] {
			if part.Firewall != nil || part.Descriptors != 0 {
				t.Errorf("said twice: %+v", part)
			}
			got.Add(part)
		}
		if got.More || !reflect.DeepEqual(got.Policies, whole.Policies) || len(got.Outputs) != 2 || got.Firewall == nil || got.Descriptors != 2 {
			t.Errorf("in parts of %d: %+v", size, got)
		}
	}
}
