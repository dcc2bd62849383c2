package machine

import (
	"net/netip"
	"slices"
	"testing"
)

func TestInterfaceAddrs(t *testing.T) {
	if addrs, there, err := InterfaceAddrs("no-such-one"); there || addrs != nil || err != nil {
		t.Errorf("one that is not there: %v, %t, %v", addrs, there, err)
	}
	addrs, there, err := InterfaceAddrs("lo")
	if !there || err != nil {
		t.Fatalf("lo: %t, %v", there, err)
	}
	if len(addrs) > 0 && !slices.Contains(addrs, netip.MustParsePrefix("127.0.0.1/8")) {
		t.Errorf("lo has %v", addrs)
	}
}
