package hostfilter

import (
	"strings"
	"testing"
)

// TestClear: what is ours goes, in both families; the user's chain, with what is in it,
// and others' rules stay. A second time there is nothing to do.
func TestClear(t *testing.T) {
	everyKind(t, func(t *testing.T, b *bench, suffix, _ string) {
		b.resync(true, policies("br-a", "br-b"))
		b.sh("iptables" + suffix + " -A DOCKER-USER -s 192.0.2.1 -j DROP && iptables" + suffix + " -A FORWARD -i eth9 -j ACCEPT")
		if n, err := b.Clear(t.Context()); err != nil || n == 0 {
			t.Errorf("%d writes, %v", n, err)
		}
		for _, program := range []string{"iptables", "ip6tables"} {
			if left := b.sh(program + suffix + " -S"); strings.Contains(left, OwnChain) || !strings.Contains(left, "-A FORWARD -j DOCKER-USER") {
				t.Errorf("%s: left\n%s", program, left)
			}
		}
		if left := b.sh("iptables" + suffix + " -S"); !strings.Contains(left, "-A DOCKER-USER -s 192.0.2.1/32 -j DROP") || !strings.Contains(left, "-A FORWARD -i eth9 -j ACCEPT") {
			t.Errorf("left\n%s", left)
		}
		if n, err := b.Clear(t.Context()); err != nil || n != 0 {
			t.Errorf("again: %d writes, %v", n, err)
		}
		b.resync(true, policies("br-a"))
	})
}
