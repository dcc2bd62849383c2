package addr

import (
	"net/netip"
	"testing"
)

func TestBroadcast(t *testing.T) {
	for prefix, want := range map[string]string{
		"172.17.0.1/16": "172.17.255.255", "10.0.0.1/30": "10.0.0.3", "1.2.3.4/0": "255.255.255.255",
		"10.0.0.0/31": "", "10.0.0.1/32": "", "fd00::1/64": "",
	} {
		got, ok := broadcast(netip.MustParsePrefix(prefix))
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: %v, %t", prefix, got, ok)
		}
	}
}
