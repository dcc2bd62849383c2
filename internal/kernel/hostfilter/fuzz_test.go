package hostfilter

import (
	"slices"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
)

// FuzzParse: whatever iptables-save prints, what is written of it leaves others'
// rules alone and is read again as it is wanted.
func FuzzParse(f *testing.F) {
	f.Add("*filter\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n-A FORWARD -i a -o b -j LOG --log-prefix \"x y\"\nCOMMIT\n")
	f.Add(":LINKSPAN-FORWARD - [0:0]\n-A LINKSPAN-FORWARD -i br-0 -j ACCEPT\n-A LINKSPAN-FORWARD\n-A FORWARD -j LINKSPAN-FORWARD\n-A")
	f.Fuzz(func(t *testing.T, text string) {
		have := parse(text)
		bridges := []string{"br-0", "docker0"}
		r := compare("x", have, bridges, true)
		for line := range strings.Lines(script(have, r, bridges)) {
			words := strings.Fields(line)
			known := slices.ContainsFunc([]string{
				"*filter", ":LINKSPAN-FORWARD - [0:0]", "-N DOCKER-USER", "-D FORWARD -j DOCKER-USER", "-D FORWARD -j LINKSPAN-FORWARD",
				"-I FORWARD 1 -j DOCKER-USER", "-I FORWARD 2 -j LINKSPAN-FORWARD", "COMMIT",
				"-A LINKSPAN-FORWARD -i br-0 -j ACCEPT", "-A LINKSPAN-FORWARD -o br-0 -j ACCEPT",
				"-A LINKSPAN-FORWARD -i docker0 -j ACCEPT", "-A LINKSPAN-FORWARD -o docker0 -j ACCEPT",
			}, func(may string) bool { return may == strings.Join(words, " ") })
			if !known {
				t.Errorf("%q is written", line)
			}
		}
		if r.makeUser && strings.Contains("\n"+text, "\n:DOCKER-USER ") {
			t.Errorf("chain DOCKER-USER is made, of %q", text)
		}
	})
}

// FuzzDecodeRule: bytes that are no rule are none, and never more than they are.
func FuzzDecodeRule(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x0b\x00\x01\x00filter\x00\x00\x0c\x00\x02\x00FORWARD\x00\x0c\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x07"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, _, err := decodeRule(netlink.Message{Data: data})
		if err == nil && len(data) < 30 && r.accept {
			t.Errorf("%d bytes accept: %+v", len(data), r)
		}
	})
}

func TestNameOf(t *testing.T) {
	for data, want := range map[string]string{
		"br-0\x00": "br-0", "br-0\x00\x00\x00": "br-0", "br-0": "", "": "", "\x00": "",
		"sixteen-bytes-ab": "sixteen-bytes-ab", "br\x00-0": "", "b+\x00": "b+",
	} {
		if got := nameOf([]byte(data)); got != want {
			t.Errorf("%q: %q, want %q", data, got, want)
		}
	}
}
