package hostports

import (
	"net/netip"
	"strings"
	"testing"
)

// TestParse: lines as a little-endian kernel prints them.
func TestParse(t *testing.T) {
	if !littleEndian() {
		t.Skip("the lines are of a little-endian machine")
	}
	const text = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41 1 0000000000000000 100 0 0 10 0
   1: 0200007F:0050 0300007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 42 1 0000000000000000 20 4 30 10 -1
   2: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 43 2 0000000000000000 0
   3: 0000007F:1F90 short
   4: 0000007:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 44 1
   5: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 -1 1
`
	got, err := parse(t.Context(), strings.NewReader(text))
	want := []entry{
		{netip.MustParseAddrPort("127.0.0.1:8080"), true, 41},
		{netip.MustParseAddrPort("127.0.0.2:80"), false, 42},
		{netip.MustParseAddrPort("[::1]:53"), true, 43},
	}
	if err != nil || len(got) != len(want) {
		t.Fatalf("got %v, %v", got, err)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("line %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

func littleEndian() bool {
	a, ok := parseAddr("0100007F:0000")
	return ok && a.Addr() == netip.MustParseAddr("127.0.0.1")
}

func FuzzParseLine(f *testing.F) {
	f.Add("0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 41 1")
	f.Add("0: :: : 0A 1 1 1 1 1 1")
	f.Fuzz(func(t *testing.T, line string) {
		if e, ok := parseLine(line); ok && !e.local.IsValid() {
			t.Errorf("%q: invalid address", line)
		}
	})
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "127.0.0.2", false},
		{"0.0.0.0", "127.0.0.2", true},
		{"127.0.0.1", "0.0.0.0", true},
		{"127.0.0.1", "::", true},
		{"127.0.0.1", "::ffff:127.0.0.1", true},
		{"127.0.0.1", "::1", false},
		{"::1", "0.0.0.0", false},
		{"::", "::1", true},
		{"::1", "::", true},
	} {
		if got := overlap(netip.MustParseAddr(c.a), netip.MustParseAddr(c.b)); got != c.want {
			t.Errorf("overlap(%s, %s) = %t", c.a, c.b, got)
		}
	}
}
