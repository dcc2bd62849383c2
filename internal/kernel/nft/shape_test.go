package nft

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/border"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
)

// TestMarkIsARule: the mark that is let in comes, changes and goes by Apply and by
// Resync, and everything else stays.
func TestMarkIsARule(t *testing.T) {
	n := namespaces.New(t)
	b := newBackend(t, n)
	rows := sampleRows()
	rows = slices.DeleteFunc(rows, func(r desired.Row) bool { return r.Key() == (desired.AcceptMark{}).Key() })
	mark := func(m uint32) desired.Row { return desired.AcceptMark{Mark: m, Mask: 0xff} }
	has := func(when, want string) {
		t.Helper()
		list := ruleset(n)
		if got := strings.Contains(list, `comment "by its mark"`); got != (want != "") || !strings.Contains(list, want) {
			t.Errorf("%s: want %q in\n%s", when, want, list)
		}
		if !strings.Contains(list, "172.17.0.0/16") {
			t.Errorf("%s: the elements are gone", when)
		}
	}
	resync(t, b, rows...)
	has("without", "")
	for _, step := range []struct {
		delta desired.Delta
		want  string
	}{
		{desired.Delta{New: mark(7)}, "meta mark & 0x000000ff == 0x00000007 accept"},
		{desired.Delta{Old: mark(7), New: mark(8)}, "meta mark & 0x000000ff == 0x00000008 accept"},
		{desired.Delta{Old: mark(8)}, ""},
	} {
		if err := b.Apply(t.Context(), []desired.Delta{step.delta}); err != nil {
			t.Fatal(err)
		}
		has("applied", step.want)
	}
	resync(t, b, append(rows, mark(9))...)
	has("resynced", "== 0x00000009 accept")
	if report, err := b.Resync(t.Context(), append(rows, mark(9))); err != nil || report.Writes != 0 {
		t.Errorf("again: %+v, %v", report, err)
	}
}

// TestFamilyIsLeftAlone: packets of a family that is off leave every base chain by its
// first rule; frames are looked after all the same.
func TestFamilyIsLeftAlone(t *testing.T) {
	for _, s := range []shape{{off4: true}, {off6: true}, {off4: true, off6: true, sockets: 1}} {
		for _, table := range s.tables() {
			for _, c := range table.chains {
				var passed []byte
				for _, r := range c.rules {
					if len(r.exprs) < 3 || r.comment != "a family that is not looked after" {
						break
					}
					passed = append(passed, r.exprs[1].(*expr.Cmp).Data...)
				}
				slices.Sort(passed)
				var want []byte
				if table.family == unix.NFPROTO_INET && c.base.kind != "" {
					if s.off4 {
						want = append(want, unix.NFPROTO_IPV4)
					}
					if s.off6 {
						want = append(want, unix.NFPROTO_IPV6)
					}
				}
				if !slices.Equal(passed, want) {
					t.Errorf("%+v: %s: chain %s lets %v pass by, want %v", s, table, c.name, passed, want)
				}
			}
		}
	}
}

// TestClear: nothing of ours is left, what is others' stays, and the rows can come back.
func TestClear(t *testing.T) {
	n := namespaces.New(t)
	n.NFT("add", "table", "inet", "theirs")
	b := newBackend(t, n)
	if gone, err := b.Clear(t.Context()); gone != 0 || err != nil {
		t.Errorf("of nothing: %d, %v", gone, err)
	}
	resync(t, b, sampleRows()...)
	if gone, err := b.Clear(t.Context()); gone != 2 || err != nil {
		t.Errorf("%d tables, %v", gone, err)
	}
	if list := ruleset(n); strings.TrimSpace(list) != "table inet theirs {\n}" {
		t.Errorf("left: %s", list)
	}
	resync(t, b, sampleRows()...)
	golden(t, "ruleset.nft", strings.TrimPrefix(ruleset(n), "table inet theirs {\n}\n"))
}

// TestSocketsAreMatchedOnDemand: a kernel that cannot match sockets is asked only where
// somebody wants it.
func TestSocketsAreMatchedOnDemand(t *testing.T) {
	n := namespaces.New(t)
	b := newBackend(t, n)
	rows := []desired.Row{desired.BridgePolicy{Bridge: "br-a"}, desired.BridgePolicy{Bridge: "br-b"}}
	resync(t, b, rows...)
	one, other := desired.Transparent{Bridge: "br-a"}, desired.Transparent{Bridge: "br-b"}
	for i, d := range []desired.Delta{{New: one}, {New: other}, {Old: one}, {Old: other}} {
		if err := b.Apply(t.Context(), []desired.Delta{d}); err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Contains(ruleset(n), "socket transparent 1"), i < 3; got != want {
			t.Errorf("after %v: %t, want %t", d, got, want)
		}
	}
	if report, err := b.Resync(t.Context(), rows); err != nil || report.Writes != 0 {
		t.Errorf("resync: %+v, %v", report, err)
	}
}

// TestVouchedSources: what comes from outside under a container's address does not reach
// a published port that a socket serves; the same from the container does, and from
// outside under an address of there. Each of the rules is needed.
func TestVouchedSources(t *testing.T) {
	for _, beside := range []bool{false, true} {
		tr := tracerOf(t, Options{Instance: "test", Beside: beside}, border.Rows())
		const mac = "02:00:00:00:ff:01"
		forged := []firewalltest.Hop{
			{In: "eth0", Frame: frames.Between(mac, mac, "10.1.0.11", firewalltest.Uplink4).TCP([2]uint16{1000, 8070}, frames.SYN, 0)},
			{In: "eth0", Frame: frames.Between(mac, mac, "fd01::11", firewalltest.Uplink6).TCP([2]uint16{1000, 8070}, frames.SYN, 0)},
		}
		honest := []firewalltest.Hop{
			{In: "eth0", Frame: frames.Between(mac, mac, "192.0.2.2", firewalltest.Uplink4).TCP([2]uint16{1000, 8070}, frames.SYN, 0)},
			{In: "eth0", Frame: frames.Between(mac, mac, "10.1.0.11", firewalltest.Uplink4).TCP([2]uint16{1000, 9999}, frames.SYN, 0)},
			{In: "br-a", Frame: frames.Between(mac, mac, "10.1.0.11", firewalltest.Uplink4).TCP([2]uint16{1000, 8070}, frames.SYN, 0)},
			{In: "lo", Frame: frames.Between(mac, mac, "10.1.0.11", firewalltest.Uplink4).TCP([2]uint16{1000, 8070}, frames.SYN, 0)},
		}
		for _, h := range honest {
			if got := tr.Run(firewalltest.Input, h); got != firewalltest.Accept {
				t.Errorf("beside %t: honest by %s: %s", beside, h.In, got)
			}
		}
		for _, h := range forged {
			if got := tr.Run(firewalltest.Input, h); got != firewalltest.Drop {
				t.Errorf("beside %t: forged: %s", beside, got)
			}
		}
		missed := 0
		for _, c := range tr.Tables[0].Chains {
			rules := c.Rules
			for k, r := range rules {
				if r.Comment != vouchedRules()[0].comment {
					continue
				}
				c.Rules = slices.Concat(rules[:k], rules[k+1:])
				for _, h := range forged {
					if tr.Run(firewalltest.Input, h) == firewalltest.Accept {
						missed++
					}
				}
				c.Rules = rules
			}
		}
		if missed != len(forged) {
			t.Errorf("beside %t: %d of %d rules are missed", beside, missed, len(forged))
		}
	}
}
