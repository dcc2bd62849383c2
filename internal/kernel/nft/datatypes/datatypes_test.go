package datatypes

import (
	"slices"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	name := "docker0" + strings.Repeat("\x00", 9)
	for _, c := range []struct {
		types []Type
		value string
		want  string
	}{
		{[]Type{INET, Port}, "\x06\x00\x00\x00\x1f\x90\x00\x00", "tcp . 8080"},
		{[]Type{Ifname, IPv4}, name + "\xac\x11\x00\x02", "docker0 . 172.17.0.2"},
		{[]Type{Ifname, Ether}, name + "\x02\x42\xac\x11\x00\x02\x00\x00", "docker0 . 02:42:ac:11:00:02"},
		{[]Type{NFProto, INET, Port}, "\x0a\x00\x00\x00\x84\x00\x00\x00\x00\x50\x00\x00", "ipv6 . sctp . 80"},
		{[]Type{IPv6}, "\xfd" + strings.Repeat("\x00", 14) + "\x02", "fd00::2"},
		{[]Type{Port}, "\x00\x50", "80"}, // alone it is not padded
		{[]Type{INET, IPv4}, "\x11\x00\x00\x00\xac\x11", "udp ac11"},
		{[]Type{IPv4}, "", " "},
	} {
		if got := Text(c.types, c.value); got != c.want {
			t.Errorf("%v of %q: %q, want %q", c.types, c.value, got, c.want)
		}
	}
}

// TestSplit: parts come back as they were, and the length is that of all of them padded.
func TestSplit(t *testing.T) {
	types := []Type{NFProto, INET, IPv6, Ether, Port, IPv4, Ifname}
	var whole string
	var want []string
	for i, typ := range types {
		part := strings.Repeat(string(rune('a'+i)), typ.Size())
		want = append(want, part)
		whole += part + strings.Repeat("\x00", align(typ.Size())-typ.Size())
	}
	if got := Split(types, whole); !slices.Equal(got, want) || int(Length(types)) != len(whole) {
		t.Errorf("%q of %d bytes, want %q of %d", got, Length(types), want, len(whole))
	}
	if n := Length([]Type{Port}); n != 2 {
		t.Errorf("a port alone has %d bytes", n)
	}
	if m := Magic([]Type{INET, Port}); m != 12<<6|13 {
		t.Errorf("magic: %d", m)
	}
}
