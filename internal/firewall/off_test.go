package firewall

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
)

// TestManaged draws worlds: of a family without rules no policy is left, every port of
// it that can be is served in user space, once, and the other family is as it was.
func TestManaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 12))
	moved := 0
	for range 500 {
		networks, containers := world(rng)
		rows := append(rowsOf(networks, containers), desired.ForwardDrop{IPv4: true, IPv6: true})
		if got := (Settings{}).Managed(rows); !slices.Equal(got, rows) {
			t.Fatalf("with rules: %v, want %v", got, rows)
		}
		s := Settings{Off4: rng.IntN(2) == 0, Off6: rng.IntN(2) == 0}
		got, keys := s.Managed(rows), map[desired.Key]int{}
		for _, row := range got {
			keys[row.Key()]++
			if f, ok := familyOf(row); ok && s.Off(f) {
				t.Fatalf("%+v: %s", s, row)
			}
		}
		for _, row := range rows {
			f, ok := familyOf(row)
			if ok && !s.Off(f) && !slices.Contains(got, row) {
				t.Fatalf("%+v: %s is gone", s, row)
			}
			p, ok := row.(desired.Publish)
			if !ok || !s.Off(f) {
				continue
			}
			moved++
			served := inUserSpace(p)
			if !slices.Contains(got, desired.Row(served)) {
				t.Fatalf("%+v: nobody serves %s", s, p)
			}
			// Two containers of a generated world may want one port; nobody serves it twice.
			if before := slices.DeleteFunc(slices.Clone(rows), func(r desired.Row) bool { return r.Key() != p.Key() }); keys[served.Key()] > len(before) {
				t.Fatalf("%+v: %s is served %d times", s, p, keys[served.Key()])
			}
		}
	}
	if moved < 500 {
		t.Errorf("only %d ports moved to user space: the test looks at too little", moved)
	}
}

// TestEveryPolicyKnowsItsFamily ranges over all types of rows: with all rules off no
// policy is left but that of a bridge, by which the user-space proxy knows internal
// networks.
func TestEveryPolicyKnowsItsFamily(t *testing.T) {
	for _, row := range desired.Types() {
		got := Settings{Off4: true, Off6: true}.Managed([]desired.Row{row})
		_, bridge := row.(desired.BridgePolicy)
		if policy := row.Key().Kind == desired.KindPolicy; policy && !bridge && slices.ContainsFunc(got, func(r desired.Row) bool { return r.Key().Kind == desired.KindPolicy }) {
			t.Errorf("%T: %v", row, got)
		}
	}
}

// TestFencesWithoutRules: an internal network stays closed; nothing leads localhost to
// a container, so that no network routes it.
func TestFencesWithoutRules(t *testing.T) {
	inside := desired.Fence{Link: "br-i", Inside: []netip.Prefix{prefix("10.1.0.0/24")}}
	local := desired.Fence{Link: "br-a", Localhost: true}
	rows := []desired.Row{inside, local}
	if got := (Settings{Off6: true}).Managed(rows); len(got) != 2 || got[1].String() != local.String() {
		t.Errorf("without IPv6: %v", got)
	}
	if got := (Settings{Off4: true}).Managed(rows); len(got) != 1 || got[0].String() != inside.String() {
		t.Errorf("without IPv4: %v", got)
	}
}
