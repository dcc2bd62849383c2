package ipam

import (
	"net/netip"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func TestSubnet(t *testing.T) {
	many := prefixes("172.16.0.0/12")
	for _, c := range []struct {
		name  string
		bits  int
		taken []netip.Prefix
		want  string
	}{
		{"the first", 0, nil, "172.17.0.0/16"},
		{"the next after one in use", 0, prefixes("172.17.0.0/16"), "172.18.0.0/16"},
		{"a hole is filled", 0, prefixes("172.17.0.0/16", "172.19.0.0/16"), "172.18.0.0/16"},
		{"a small one in the way costs a whole subnet", 0, prefixes("172.17.200.0/30"), "172.18.0.0/16"},
		{"second kind of base", 0, many, "192.168.0.0/20"},
		{"second kind, next", 0, append(many, prefixes("192.168.4.0/24")...), "192.168.16.0/20"},
		{"a size asked for", 24, prefixes("172.17.0.0/24"), "172.17.1.0/24"},
		{"a size too large for the first bases", 14, nil, "172.20.0.0/14"},
		{"the default route takes nothing by itself, all does", 0, prefixes("0.0.0.0/0"), ""},
		{"exhausted", 0, append(many, prefixes("192.168.0.0/16")...), ""},
	} {
		got, ok := Subnet(model.IPv4, DefaultBases(), c.bits, c.taken)
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%s: got %v %v, want %q", c.name, got, ok, c.want)
		}
	}
}

func TestDefaultBasesHoldThirtyOneNetworks(t *testing.T) {
	var taken []netip.Prefix
	for {
		p, ok := Subnet(model.IPv4, DefaultBases(), 0, taken)
		if !ok {
			break
		}
		taken = append(taken, p)
	}
	if len(taken) != 31 {
		t.Errorf("%d subnets, want 31", len(taken))
	}
}

func TestAddress(t *testing.T) {
	for _, c := range []struct {
		name, subnet, within, cursor string
		taken                        []string
		want                         string
	}{
		{"the first host", "10.0.0.0/24", "", "", nil, "10.0.0.1"},
		{"after the gateway", "10.0.0.0/24", "", "", []string{"10.0.0.1"}, "10.0.0.2"},
		{"after the cursor, not the hole", "10.0.0.0/24", "", "10.0.0.9", []string{"10.0.0.1"}, "10.0.0.10"},
		{"wraps before broadcast", "10.0.0.0/29", "", "10.0.0.6", []string{"10.0.0.1"}, "10.0.0.2"},
		{"from the range", "10.0.0.0/24", "10.0.0.64/30", "", []string{"10.0.0.64"}, "10.0.0.65"},
		{"the range alone is full", "10.0.0.0/24", "10.0.0.64/31", "", []string{"10.0.0.64", "10.0.0.65"}, ""},
		{"a range's own edges are usable", "10.0.0.0/24", "10.0.0.64/31", "10.0.0.64", nil, "10.0.0.65"},
		{"a /31 has two hosts", "10.0.0.0/31", "", "", nil, "10.0.0.0"},
		{"a /32 has one", "10.0.0.7/32", "", "", nil, "10.0.0.7"},
		{"IPv6 skips the anycast address", "fd00::/64", "", "", nil, "fd00::1"},
		{"IPv6 has no broadcast", "fd00::/126", "", "fd00::2", nil, "fd00::3"},
		{"full", "10.0.0.0/30", "", "", []string{"10.0.0.1", "10.0.0.2"}, ""},
	} {
		taken := map[string]bool{}
		for _, a := range c.taken {
			taken[a] = true
		}
		r := Request{Subnet: netip.MustParsePrefix(c.subnet), Taken: func(a netip.Addr) bool { return taken[a.String()] }}
		if c.within != "" {
			r.Range = netip.MustParsePrefix(c.within)
		}
		if c.cursor != "" {
			r.Cursor = netip.MustParseAddr(c.cursor)
		}
		got, ok := Address(r)
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%s: got %v %v, want %q", c.name, got, ok, c.want)
		}
	}
}
