package iptables

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
	"github.com/linkspan/linkspan/internal/model"
)

func sampleRows() []desired.Row {
	return []desired.Row{
		desired.ForwardDrop{IPv4: true, IPv6: true},
		desired.AcceptMark{Mark: 7, Mask: 0xff},
		desired.Transparent{Bridge: "docker0"},
		desired.BridgePolicy{Bridge: "docker0", ICC: true},
		desired.BridgePolicy{Bridge: "br-routed", ICC: true, Direct4: true},
		desired.BridgePolicy{Bridge: "br-quiet"},
		desired.BridgePolicy{Bridge: "br-inside", Internal: true, ICC: true},
		desired.BridgePolicy{Bridge: "br-mute", Internal: true},
		desired.Masquerade{Bridge: "docker0", Subnet: prefix("172.17.0.0/16")},
		desired.Masquerade{Bridge: "br-quiet", Subnet: prefix("172.18.0.0/16")},
		desired.Masquerade{Bridge: "docker0", Subnet: prefix("fd00:1::/64")},
		desired.Masquerade{Bridge: "br-as", Subnet: prefix("172.20.0.0/16"), Source: address("192.0.2.7")},
		desired.Masquerade{Bridge: "br-as", Subnet: prefix("fd00:3::/64"), Source: address("2001:db8::7")},
		desired.PortSecurity{Port: "veth0a", Bridge: "docker0", MAC: "02:42:ac:11:00:02", Addrs: addrs("172.17.0.2", "fd00:1::2", "fe80::42:acff:fe11:2")},
		desired.PortSecurity{Port: "veth0d", Bridge: "br-quiet", MAC: "02:42:ac:12:00:04", Addrs: addrs("172.18.0.4")},
		desired.Identity{Bridge: "docker0", MACs: []string{"02:42:ac:11:00:01"}, Addrs: addrs("172.17.0.1", "fe80::1")},
		desired.Elsewhere{Port: "veth0a", Addrs: addrs("172.18.0.9", "fd00:2::9")},
		desired.Allow{Bridge: "br-quiet", From: address("172.18.0.5"), To: address("172.18.0.4"), Protocol: model.TCP, First: 80, Last: 80},
		desired.Allow{Bridge: "br-quiet", From: address("fd00:2::5"), To: address("fd00:2::4"), Protocol: model.UDP, First: 5000, Last: 5009},
		publish(model.TCP, "0.0.0.0", 8080, 8080, "172.17.0.2", 80),
		publish(model.TCP, "::", 8080, 8080, "fd00:1::2", 80),
		publish(model.UDP, "192.0.2.1", 53, 53, "172.17.0.2", 5353),
		publish(model.SCTP, "2001:db8::1", 132, 132, "fd00:1::2", 132),
		publish(model.TCP, "127.0.0.1", 20000, 29999, "172.17.0.2", 20000),
		publish(model.UDP, "::", 30000, 30100, "fd00:1::2", 30000),
		publish(model.TCP, "0.0.0.0", 9000, 9002, "172.17.0.2", 80),
		publish(model.TCP, "::", 9000, 9002, "fd00:1::2", 80),
		desired.Served{Protocol: model.TCP, Host: address("2001:db8::1"), First: 8081, Last: 8081},
		desired.Served{Protocol: model.UDP, Host: netip.IPv6Unspecified(), First: 40000, Last: 40009},
		desired.Direct{Bridge: "docker0", Addr: address("172.17.0.9")},
		desired.Direct{Bridge: "docker0", Addr: address("fd00:1::8"), Protocol: model.UDP, First: 7000, Last: 7009},
		desired.DirectICMP{Bridge: "docker0", Addr: address("172.17.0.8")},
		desired.DirectICMP{Bridge: "docker0", Addr: address("fd00:1::8")},
		desired.DirectFrom{Interface: "eth1", Direct: desired.Direct{Bridge: "docker0", Addr: address("172.17.0.7"), Protocol: model.TCP, First: 80, Last: 80}},
		desired.DirectFrom{Interface: "eth1", Direct: desired.Direct{Bridge: "docker0", Addr: address("fd00:1::7"), Protocol: model.UDP, First: 7000, Last: 7009}},
	}
}

// publish is a row of docker0.
func publish(p model.Protocol, host string, first, last uint16, to string, toFirst uint16) desired.Publish {
	return desired.Publish{Protocol: p, Host: address(host), First: first, Last: last, To: address(to), ToFirst: toFirst, Bridge: "docker0"}
}

// TestRulesReadWell: what iptables-save says is the same with both variants, but for the
// order of tables.
func TestRulesReadWell(t *testing.T) {
	inBoth(t, func(t *testing.T, n *namespace) {
		resync(t, n.open(Options{}), sampleRows()...)
		golden(t, "rules.txt", inTables(n.saved()))
	})
}

// inTables sorts the tables of each family.
func inTables(saved string) string {
	tables := strings.SplitAfter(saved, "COMMIT\n")
	half := len(tables) / 2
	slices.Sort(tables[:half])
	slices.Sort(tables[half : 2*half])
	return strings.Join(tables, "")
}

// TestResyncTwice: what was written reads back as what was meant.
func TestResyncTwice(t *testing.T) {
	inBoth(t, func(t *testing.T, n *namespace) {
		b := n.open(Options{})
		if r := resync(t, b, sampleRows()...); r.Writes == 0 || len(r.Drift) == 0 {
			t.Errorf("first resync: %+v", r)
		}
		if r := resync(t, b, sampleRows()...); r.Writes != 0 || r.Drift != nil {
			t.Errorf("second resync: %+v", r)
		}
		if r := resync(t, n.open(Options{}), sampleRows()...); r.Writes != 0 || r.Drift != nil {
			t.Errorf("resync of another backend: %+v", r)
		}
		if r := resync(t, b); r.Writes == 0 || strings.Contains(n.saved(), "docker0") {
			t.Errorf("of nothing: %+v\n%s", r, n.saved())
		}
	})
}

// TestEveryTypeIsRendered ranges over all policies.
func TestEveryTypeIsRendered(t *testing.T) {
	rendered := map[string]bool{}
	for _, row := range sampleRows() {
		if _, err := render(row); err != nil {
			t.Errorf("%s: %v", row, err)
		}
		rendered[row.Key().Name[:strings.IndexByte(row.Key().Name+" ", ' ')]] = true
	}
	for _, row := range desired.Types() {
		if row.Key().Kind != desired.KindPolicy {
			continue
		}
		if name, _, _ := strings.Cut(row.Key().Name, " "); !rendered[name] {
			t.Errorf("%T is not among the sample rows: render it, and put one there", row)
		}
		if _, err := render(row); model.KindOf(err) == model.NotImplemented {
			t.Error(err)
		}
	}
}

// TestResyncRepairs: whatever is broken is said and put right, and what is others' stays.
func TestResyncRepairs(t *testing.T) {
	for _, c := range []struct {
		name, broken, said string
		writes             int // 0: whatever it takes
	}{
		{"rule gone", "iptables -D DOCKER ! -i docker0 -o docker0 -j DROP", "iptables -t filter DOCKER: ! -i docker0 -o docker0 -j DROP: missing", 1},
		{"rule added", "iptables -I DOCKER -j ACCEPT", "DOCKER: -j ACCEPT: not ours", 1},
		{"rule changed", "iptables -R DOCKER-CT 1 -o br-quiet -j ACCEPT", "DOCKER-CT: -o br-quiet -j ACCEPT: not ours", 2},
		{"order changed", "iptables -D DOCKER ! -i docker0 -o docker0 -j DROP; iptables -I DOCKER ! -i docker0 -o docker0 -j DROP", "DOCKER: rules in another order", 0},
		{"chain emptied", "ip6tables -t nat -F DOCKER", "ip6tables -t nat DOCKER: ", 4},
		{"all flushed", "iptables -F", "iptables -t filter FORWARD: -j DOCKER-USER: missing", 0},
		{"all removed", "iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X; iptables -t mangle -F; iptables -t mangle -X; iptables -t raw -F", "iptables: all chains of ours: missing", 0},
		{"our jump is behind", "iptables -I FORWARD -i eth9 -j ACCEPT", "FORWARD: our rules are not where they belong", 6},
		{"our jumps change places", "iptables -D FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-USER", "FORWARD: our rules are not where they belong", 6},
		{"a jump gone", "iptables -D FORWARD -j DOCKER-FORWARD", "FORWARD: -j DOCKER-FORWARD: missing", 1},
		{"a jump twice", "iptables -A FORWARD -j DOCKER-USER", "FORWARD: -j DOCKER-USER: left over", 7},
		{"a network's source left over", "iptables -t nat -A POSTROUTING -s 10.0.0.0/8 ! -o br-old -m comment --comment linkspan -j MASQUERADE", "left over", 1},
		{"masquerade before the exceptions", "iptables -t nat -D POSTROUTING -j LINKSPAN-POSTROUTING; iptables -t nat -A POSTROUTING -j LINKSPAN-POSTROUTING", "POSTROUTING: our rules are not", 0},
		{"loopback open", "iptables -t raw -F PREROUTING", "iptables -t raw PREROUTING: -d 127.0.0.0/8 ! -i lo", 2},
		{"a chain of another version", "iptables -N LINKSPAN-OLD; iptables -A LINKSPAN-OLD -j ACCEPT; iptables -A FORWARD -j LINKSPAN-OLD", "LINKSPAN-OLD: left over", 3},
		{"one that somebody uses", "iptables -N mine; iptables -N LINKSPAN-OLD; iptables -A LINKSPAN-OLD -j ACCEPT; iptables -A mine -j LINKSPAN-OLD", "LINKSPAN-OLD: rules left over", 1},
		{"Docker's old chains", "iptables -N DOCKER-ISOLATION-STAGE-1; iptables -I FORWARD -j DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-1: left over", 0},
		{"rules of others", "iptables -A FORWARD -i eth9 -j DROP; iptables -A DOCKER-USER -s 10.0.0.0/8 -j DROP; iptables -N DOCKER-MINE; iptables -A INPUT -j DOCKER-MINE; iptables -t nat -A POSTROUTING -o eth9 -j MASQUERADE; iptables -P FORWARD DROP; iptables -A INPUT -j DOCKER-USER", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, n *namespace) {
				b := n.open(Options{})
				resync(t, b, sampleRows()...)
				n.iptables("iptables -A DOCKER-USER -s 192.0.2.0/24 -j RETURN; iptables -A FORWARD -i eth7 -j ACCEPT")
				whole := n.saved()
				n.iptables(c.broken)
				broken := n.saved()
				if r, err := b.Check(t.Context(), sampleRows()); err != nil || r.Writes != 0 || (len(r.Drift) > 0) != (c.said != "") || n.saved() != broken {
					t.Fatalf("check: %+v, %v", r, err)
				}
				r := resync(t, b, sampleRows()...)
				if !strings.Contains(strings.Join(r.Drift, "\n"), c.said) {
					t.Errorf("drift %q does not say %q", r.Drift, c.said)
				}
				if c.writes != 0 && r.Writes != c.writes {
					t.Errorf("%d writes, want %d: %q", r.Writes, c.writes, r.Drift)
				}
				if again := resync(t, b, sampleRows()...); again.Writes != 0 || again.Drift != nil {
					t.Errorf("second resync: %+v", again)
				}
				if got := ours(n.saved()); got != ours(whole) {
					t.Errorf("after repair:\n%s\nwant\n%s", got, ours(whole))
				}
				if got, want := others(n.saved()), others(broken); got != want && !strings.Contains(c.broken, "-F") {
					t.Errorf("of others there was\n%s\nnow\n%s", want, got)
				}
			})
		})
	}
}

// ours is what a repair has to bring back, sorted; others is everything else.
func ours(saved string) string   { return lines(saved, true) }
func others(saved string) string { return lines(saved, false) }

func lines(saved string, mine bool) string {
	var out []string
	for _, l := range strings.Split(saved, "\n") {
		if strings.Contains(l, "LINKSPAN-OLD") {
			continue
		}
		is := strings.Contains(l, "LINKSPAN") || strings.Contains(l, "linkspan") ||
			strings.Contains(l, "DOCKER") && !strings.Contains(l, "A DOCKER-USER") && !strings.Contains(l, "MINE") && !strings.Contains(l, "INPUT")
		if is == mine && l != "" && l[0] != '*' && l != "COMMIT" {
			out = append(out, l)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// TestPathIndependence: rows that come and go one after the other leave what a resync of
// the last of them makes, and each turn writes only what it must.
func TestPathIndependence(t *testing.T) {
	inBoth(t, func(t *testing.T, n *namespace) {
		b := n.open(Options{})
		resync(t, b)
		rng := rand.New(rand.NewPCG(33, 12))
		all := sampleRows()
		there := map[int]bool{}
		for range 40 {
			var deltas []desired.Delta
			for range 1 + rng.IntN(6) {
				i := rng.IntN(len(all))
				d := desired.Delta{Owner: "test", New: all[i]}
				if there[i] {
					d.Old, d.New = d.New, nil
				}
				there[i] = !there[i]
				deltas = append(deltas, d)
			}
			apply(t, b, deltas...)
		}
		var rows []desired.Row
		for i, row := range all {
			if there[i] {
				rows = append(rows, row)
			}
		}
		if r := resync(t, b, rows...); r.Writes != 0 || r.Drift != nil {
			t.Errorf("after %d rows came and went: %+v", len(all), r)
		}
	})
}

// TestApplyWithoutChains: what was removed is written again, and said.
func TestApplyWithoutChains(t *testing.T) {
	inBoth(t, func(t *testing.T, n *namespace) {
		b := n.open(Options{})
		rows := sampleRows()
		resync(t, b, rows...)
		n.iptables("iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X")
		one := publish(model.TCP, "0.0.0.0", 7777, 7777, "172.17.0.2", 77)
		if err := b.Apply(t.Context(), added(one)); !errors.Is(err, desired.ErrLost) || len(desired.Failures(err)) > 0 {
			t.Errorf("apply: %v", err)
		}
		if r := resync(t, b, append(rows, one)...); r.Writes != 0 {
			t.Errorf("afterwards: %+v", r)
		}
	})
}

// TestApplyAfterDrift: a rule that is gone already can go, and a stranger in a chain of
// ours is in nobody's way.
func TestApplyAfterDrift(t *testing.T) {
	inBoth(t, func(t *testing.T, n *namespace) {
		b := n.open(Options{})
		rows := sampleRows()
		resync(t, b, rows...)
		n.iptables("iptables -F DOCKER-CT; iptables -I DOCKER-FORWARD -j ACCEPT")
		apply(t, b, desired.Delta{Owner: "network/quiet", Old: desired.BridgePolicy{Bridge: "br-quiet"}})
		rows = slices.DeleteFunc(rows, func(r desired.Row) bool { return r == desired.Row(desired.BridgePolicy{Bridge: "br-quiet"}) })
		if r := resync(t, b, rows...); r.Writes != 0 {
			t.Errorf("afterwards: %+v", r)
		}
	})
}

// TestRefused: rows that make no sense, or that iptables would take for something else.
func TestRefused(t *testing.T) {
	for _, row := range []desired.Row{
		desired.BridgePolicy{}, desired.BridgePolicy{Bridge: "br+"}, desired.BridgePolicy{Bridge: "br a"}, desired.BridgePolicy{Bridge: "-j"},
		desired.BridgePolicy{Bridge: "a\n-A b"}, desired.BridgePolicy{Bridge: `a"b`}, desired.BridgePolicy{Bridge: "much-longer-than-that"},
		desired.Masquerade{Bridge: "docker0"},
		desired.Masquerade{Bridge: "docker0", Subnet: prefix("10.0.0.0/8"), Source: address("::1")},
		publish(model.TCP, "0.0.0.0", 80, 80, "fd00::2", 80), publish("icmp", "0.0.0.0", 80, 80, "10.0.0.2", 80),
		publish(model.TCP, "0.0.0.0", 80, 79, "10.0.0.2", 80), publish(model.TCP, "0.0.0.0", 80, 90, "10.0.0.2", 65530),
		desired.Direct{Bridge: "docker0"}, desired.DirectICMP{Bridge: "docker0"},
		desired.DirectFrom{Interface: "eth+", Direct: desired.Direct{Bridge: "docker0", Addr: address("10.0.0.2"), Protocol: model.TCP, First: 1, Last: 1}},
		desired.Allow{Bridge: "docker0", From: address("10.0.0.2"), To: address("::2"), Protocol: model.TCP, First: 1, Last: 1},
	} {
		if entries, err := render(row); model.KindOf(err) != model.Invalid {
			t.Errorf("%s: %v, %v", row, entries, err)
		}
	}
}

// TestFailureIsTraced: what iptables refuses is told of the row that asked for it, and the
// rest of the rules is as it was.
func TestFailureIsTraced(t *testing.T) {
	inBoth(t, func(t *testing.T, n *namespace) {
		in := n.variant.Infix()
		folder := folderOf(t, "iptables"+in, "iptables"+in+"-save", "ip6tables"+in, "ip6tables"+in+"-save", "ip6tables"+in+"-restore")
		refusing, altered := filepath.Join(folder, "refusing"), filepath.Join(folder, "iptables"+in+"-restore")
		write := func(path, text string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		write(altered, "#!/bin/sh\nif [ -e "+refusing+" ]; then sed 's/SNAT --to-source 192.0.2.8/SNAT --to-source nobody/'; else cat; fi |\n"+
			"exec "+lookPath(t, "iptables"+in+"-restore")+` "$@"`)
		b := n.open(Options{folders: []string{folder, "/bin"}})
		rows := sampleRows()
		resync(t, b, rows...)
		bad := desired.Masquerade{Bridge: "docker0", Subnet: prefix("10.9.0.0/16"), Source: address("192.0.2.8")}
		write(refusing, "") // as if it were refused
		deltas := added(desired.BridgePolicy{Bridge: "br-other", ICC: true}, bad)
		err := b.Apply(t.Context(), deltas)
		failures := desired.Failures(err)
		if len(failures) != 1 || failures[0].Key != bad.Key() || failures[0].Owner != "test/1" {
			t.Fatalf("apply: %v: %v", failures, err)
		}
		if err := os.Remove(refusing); err != nil {
			t.Fatal(err)
		}
		var inverse []desired.Delta
		for _, d := range deltas {
			inverse = append(inverse, d.Invert())
		}
		apply(t, b, inverse...)
		if r := resync(t, b, rows...); r.Writes != 0 {
			t.Errorf("afterwards: %+v", r)
		}
	})
}

// TestPoll: what others change in tables of iptables-legacy is noticed, and what we write
// is not. Those of iptables-nft tell it themselves.
func TestPoll(t *testing.T) {
	inBoth(t, func(t *testing.T, n *namespace) {
		b := n.open(Options{})
		poll := func(when string, want bool) {
			t.Helper()
			if lost, err := b.Poll(t.Context()); err != nil || lost != (want && n.variant == xtables.Legacy) {
				t.Errorf("%s: %t, %v", when, lost, err)
			}
		}
		poll("before anything was written", false)
		resync(t, b, sampleRows()...)
		poll("written", false)
		apply(t, b, added(publish(model.TCP, "0.0.0.0", 7777, 7777, "172.17.0.2", 77))...)
		poll("applied", false)
		n.iptables("ip6tables -t nat -F DOCKER")
		poll("flushed", true)
		apply(t, b, desired.Delta{Owner: "test", Old: publish(model.TCP, "0.0.0.0", 7777, 7777, "172.17.0.2", 77)})
		poll("applied once more", true)
		resync(t, b, sampleRows()...)
		poll("repaired", false)
		n.iptables("iptables -A INPUT -j ACCEPT")
		poll("a rule of somebody else's", true)
		resync(t, b, sampleRows()...)
		poll("looked at", false)
	})
}
