package nft

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/border"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
)

// TestEveryRuleMatters leaves out one rule after the other: some trial must
// notice.
func TestEveryRuleMatters(t *testing.T) {
	open, guarded := newTracer(t, firewalltest.Rows(false)), newTracer(t, firewalltest.Rows(true))
	for i, table := range open.Tables {
		for j, chain := range table.Chains {
			switch chain.Name {
			case "output", "input", "sent", chainShut, chainHear, chainHearA, chainHear4, chainHear6:
				continue // for what the host itself sends and gets: TestBorder
			case chainMAC, chainHops4, chainHops6: // TestNextHopsAreFew, TestMACsAreFew
				continue
			}
			rules := chain.Rules
			for k, rule := range rules {
				switch rule.Comment {
				case "stays on this host", "within this host": // nothing in the trials does
					continue
				case countedDrop: // TestDrops
					continue
				case "by way of a next hop that is new", "a MAC address that the bridge does not know": // likewise
					continue
				case "port security": // of the kind that the host's side alone knows
					continue
				case "ARP of no usual form", "whatever else: VLAN tag, other protocol", "ARP in the name of another, or of no usual form",
					"IPv4 from another's address", "IPv6 from another's address": // what follows drops it too, and counts it as another kind: TestDrops
					continue
				case "to the host's end of a container's cable, past its bridge": // TestBorder
					continue
				case "from localhost to a published port", "an answer for this host's 127.0.0.1": // TestWaysIn
					continue
				case "ports published on one address": // counts: TestTraffic
					continue
				case "into an internal network": // TestInternalHoldsForEstablished
					continue
				}
				rest := slices.Concat(rules[:k], rules[k+1:])
				open.Tables[i].Chains[j].Rules, guarded.Tables[i].Chains[j].Rules = rest, rest
				if len(firewalltest.Disagreements(open, guarded)) == 0 {
					t.Errorf("%s: chain %s: nobody misses rule %d (%s)", table, chain.Name, k+1, rule.Comment)
				}
			}
			open.Tables[i].Chains[j].Rules, guarded.Tables[i].Chains[j].Rules = rules, rules
		}
	}
}

// TestInternalHoldsForEstablished is for the tracer alone: a network that turns
// internal closes for connections that it already has.
func TestInternalHoldsForEstablished(t *testing.T) {
	const mac = "02:00:00:00:ff:01"
	tr := newTracer(t, firewalltest.Rows(false))
	for _, h := range []firewalltest.Hop{{In: "br-i", Out: "eth0"}, {In: "eth0", Out: "br-i"}} {
		h.Frame, h.State = frames.Between(mac, mac, "10.3.0.11", "192.0.2.2").UDP(1, 2, 0), firewalltest.StateEstablished
		if got := tr.Run(firewalltest.Forward, h); got != firewalltest.Drop {
			t.Errorf("%s to %s: %s", h.In, h.Out, got)
		}
	}
}

// TestEveryRuleOfTheBorderMatters leaves out one rule after the other, of those that no
// trial is about: with frames enough, something gets where it must not.
func TestEveryRuleOfTheBorderMatters(t *testing.T) {
	tr := newTracer(t, border.Rows())
	n := border.NewNetwork(tr)
	n.Fences = nil
	forged := border.Forgeries(30000, border.Speakers()...)
	for i, table := range tr.Tables {
		for j, chain := range table.Chains {
			rules := chain.Rules
			for k, r := range rules {
				about := chain.Name == chainShut || chain.Name == "input" && table.Family == unix.NFPROTO_INET ||
					r.Comment == reservedGroup().comment || r.Comment == byThePortItself().comment || strings.Contains(r.Comment, "translate")
				if !about || r.Comment == "traffic of published ports" || r.Comment == vouchedRules()[0].comment { // TestVouchedSources
					continue
				}
				n.Passes = func(firewalltest.Place) bool {
					return chain.Name == "prerouting" || table.Family == unix.NFPROTO_INET && chain.Name != "early"
				}
				tr.Tables[i].Chains[j].Rules = slices.Concat(rules[:k], rules[k+1:])
				if !n.GoesWrong(forged) {
					t.Errorf("%s: chain %s: nobody misses rule %d (%s)", table, chain.Name, k+1, r.Comment)
				}
				tr.Tables[i].Chains[j].Rules = rules
			}
		}
	}
	n.Passes = func(firewalltest.Place) bool { return true }
	if n.GoesWrong(forged) {
		t.Error("something goes wrong with all of them")
	}
}
