package kernel

import (
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/kernel/fake"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/model"
)

// TestEveryRowIsSomebodys ranges over all types of rows: each is an object of this
// kernel, a policy of its firewall, or the keeper's; and the fake, the conformance test
// and the wire to the keeper know it. (TestEveryPolicyIsExpressed is of the firewall.)
func TestEveryRowIsSomebodys(t *testing.T) {
	handlers := (&pass{}).handlers()
	tried := map[desired.Kind]bool{}
	for o := range kerneltest.Attached(t, 1).All() {
		tried[o.Row.Key().Kind] = true
	}
	for _, row := range desired.Types() {
		kind := row.Key().Kind
		h, ours := handlers[kind]
		policy := kind == desired.KindPolicy
		if ours || policy {
			if err := (&fake.Kernel{}).Apply(t.Context(), []desired.Delta{{New: row}}); model.KindOf(cause(err)) == model.NotImplemented {
				t.Errorf("%T: %v", row, err)
			}
		}
		switch {
		case ours:
			if h.name == "" || h.put == nil {
				t.Errorf("%T: the kernel does not make it", row)
			}
			if h.find != nil && !tried[kind] {
				t.Errorf("%T: the conformance test does not try it", row)
			}
		case policy: // the firewall's: kernel/nft has this test for them; and the keeper restores it
			if !survives(t, row) {
				t.Errorf("%T: the keeper is not told", row)
			}
		case kind == desired.KindShape: // kernel/shape's
		default:
			if !survives(t, row) {
				t.Errorf("%T: neither the kernel's nor the keeper's", row)
			}
		}
	}
}

// cause is the kernel's error of a Failure.
func cause(err error) error {
	for _, f := range desired.Failures(err) {
		return f.Err
	}
	return err
}

// survives tells whether the wire to the keeper carries a row.
func survives(t *testing.T, row desired.Row) bool {
	t.Helper()
	packed, ok := wire.PackRow("owner", row)
	if !ok {
		return false
	}
	back, err := packed.Unpack()
	return err == nil && back.Row.String() == row.String()
}

// TestInternalNetworksAreTheKeepersToo: it serves nobody there.
func TestInternalNetworksAreTheKeepersToo(t *testing.T) {
	if !survives(t, desired.BridgePolicy{Internal: true}) {
		t.Error("the keeper is not told of an internal network")
	}
}

// TestOrderOfSteps is the order in which rows are made so, of which other tests and
// those who read logs know the names.
func TestOrderOfSteps(t *testing.T) {
	var names []string
	for _, s := range stepsOf((&pass{}).handlers()) {
		names = append(names, s.name)
	}
	want := []string{
		"namespaces", "links", "links on parents", "sysctls", "loopback", "fences", "masters", "addresses", "links up", "routes", "rules", "forwarding databases", "neighbours", "balances", "announcements", "uplinks",
	}
	if !slices.Equal(names, want) {
		t.Errorf("got  %v\nwant %v", names, want)
	}
}
