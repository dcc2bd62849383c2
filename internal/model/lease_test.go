package model

import (
	"net/netip"
	"testing"
)

// TestWhatTheUserAskedForIsKept: an address that was asked for is, also while no server
// gives it; one that was given is asked for again and is nobody's wish.
func TestWhatTheUserAskedForIsKept(t *testing.T) {
	asked, other := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")
	lease := func(a netip.Addr) *Lease { return &Lease{Prefix: netip.PrefixFrom(a, 24)} }
	e := Endpoint{}.WithAddress(IPv4, asked, true).WithLease(IPv4, lease(asked))
	if a, static := e.Wished4(); a != asked || !static || e.Addr4 != asked {
		t.Errorf("given: %s %t, has %s", a, static, e.Addr4)
	}
	e = e.WithLease(IPv4, nil)
	if a, static := e.Wished4(); a != asked || !static || e.Addr4.IsValid() || e.Spec("lan").IPv4 != asked {
		t.Errorf("lost: %s %t, has %s", a, static, e.Addr4)
	}
	e = e.WithLease(IPv4, nil).WithLease(IPv4, lease(asked))
	if a, static := e.Wished4(); a != asked || !static || e.Addr4 != asked || e.Asked4.IsValid() {
		t.Errorf("given again: %s %t, has %s", a, static, e.Addr4)
	}
	e = Endpoint{}.WithLease(IPv4, lease(asked)).WithLease(IPv4, lease(other))
	if a, static := e.Wished4(); a != other || static || e.Spec("lan").IPv4.IsValid() {
		t.Errorf("of one that asks for none: %s %t", a, static)
	}
}
