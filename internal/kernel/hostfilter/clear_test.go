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

// TestClearWhatSomebodyUses: a rule that leads to the chain keeps it, empty.
func TestClearWhatSomebodyUses(t *testing.T) {
	b := tryOn(t, withNFT(t))
	b.resync(true, policies("br-0"))
	b.sh("iptables-nft -A FORWARD -i eth1 -j LINKSPAN-FORWARD")
	if _, err := b.Clear(t.Context()); err != nil {
		t.Error(err)
	}
	if out := b.sh("iptables-nft -S LINKSPAN-FORWARD"); out != "-N LINKSPAN-FORWARD\n" {
		t.Error(out)
	}
}

// TestClearMakesNothing: to look for a table of x_tables would make it.
func TestClearMakesNothing(t *testing.T) {
	b := tryOn(t, withLegacy(t))
	if n, err := b.Clear(t.Context()); n != 0 || err != nil {
		t.Errorf("%d writes, %v", n, err)
	}
	if out := b.sh("nft list ruleset; cat /proc/net/ip_tables_names"); out != "" {
		t.Errorf("there is now: %s", out)
	}
}
