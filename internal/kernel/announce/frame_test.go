package announce

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"
)

// The frames are as RFC 5227 and RFC 4861 draw them; the checksum was computed apart.
func TestFrames(t *testing.T) {
	mac := net.HardwareAddr{2, 0x42, 0xac, 0x11, 0, 2}
	for addr, want := range map[string]string{
		"172.17.0.2": "ffffffffffff" + "0242ac110002" + "0806" + "0001080006040001" + "0242ac110002" + "ac110002" + "000000000000" + "ac110002",
		"fd00::2": "333300000001" + "0242ac110002" + "86dd" + "6000000000203aff" + "fd000000000000000000000000000002" + "ff020000000000000000000000000001" +
			"8800" + "ae44" + "20000000" + "fd000000000000000000000000000002" + "0201" + "0242ac110002",
	} {
		if got := hex.EncodeToString(frame(mac, netip.MustParseAddr(addr))); got != want {
			t.Errorf("%s:\n%s, want\n%s", addr, got, want)
		}
	}
}
