package kerneltest

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
)

// Kernel is what applies rows: the real one or a fake.
type Kernel interface {
	Apply(ctx context.Context, deltas []desired.Delta) error
	Resync(ctx context.Context, want desired.State) (desired.Report, error)
}

// Run holds a kernel to the contract. fresh returns an empty one.
func Run(t *testing.T, fresh func(t *testing.T) Kernel) {
	for _, c := range []struct {
		name string
		body func(*testing.T, Kernel)
	}{
		{"apply makes it as wanted", applies},
		{"apply twice is apply once", appliesTwice},
		{"resync makes it as wanted", resyncs},
		{"resync removes what is left over", sweeps},
		{"a change keeps the rest", changes},
		{"the inverse undoes", undoes},
		{"removing what is missing succeeds", removesMissing},
		{"a fault is its owner's", attributes},
		{"the way does not matter", wanders},
		{"nothing of nothing", nothing},
	} {
		t.Run(c.name, func(t *testing.T) { c.body(t, fresh(t)) })
	}
}

func apply(t *testing.T, k Kernel, deltas []desired.Delta) {
	t.Helper()
	if err := k.Apply(t.Context(), deltas); err != nil {
		t.Fatalf("apply: %v", err)
	}
}

func resync(t *testing.T, k Kernel, want desired.State) desired.Report {
	t.Helper()
	r, err := k.Resync(t.Context(), want)
	if err != nil {
		t.Fatalf("resync: %v", err)
	}
	return r
}

// settled fails the test unless the kernel is as wanted.
func settled(t *testing.T, k Kernel, want desired.State) {
	t.Helper()
	if r := resync(t, k, want); r.Writes != 0 || len(r.Drift) != 0 {
		t.Fatalf("not as wanted: %d writes, drift %q", r.Writes, r.Drift)
	}
}

func applies(t *testing.T, k Kernel) {
	want := Attached(t, 2)
	apply(t, k, Diff(desired.State{}, want))
	settled(t, k, want)
	apply(t, k, Diff(want, desired.State{}))
	settled(t, k, desired.State{})
}

func appliesTwice(t *testing.T, k Kernel) {
	want := Attached(t, 1)
	apply(t, k, Diff(desired.State{}, want))
	apply(t, k, Diff(desired.State{}, want))
	settled(t, k, want)
	apply(t, k, Diff(want, desired.State{}))
	apply(t, k, Diff(want, desired.State{}))
	settled(t, k, desired.State{})
}

func resyncs(t *testing.T, k Kernel) {
	want := Attached(t, 2)
	// What is never set back may be as wanted from the start; the rest is missing.
	least := 0
	for o := range want.All() {
		if kind := o.Row.Key().Kind; kind != desired.KindSysctl && kind != desired.KindLoopback {
			least++
		}
	}
	if r := resync(t, k, want); r.Writes == 0 || len(r.Drift) < least {
		t.Fatalf("resync of an empty kernel: %d writes, %d lines of drift for %d rows: %q", r.Writes, len(r.Drift), least, r.Drift)
	}
	settled(t, k, want)
}

func sweeps(t *testing.T, k Kernel) {
	all, some := Attached(t, 3), Attached(t, 1)
	apply(t, k, Diff(desired.State{}, all))
	if r := resync(t, k, some); r.Writes == 0 || len(r.Drift) == 0 {
		t.Fatalf("nothing found of two endpoints too many: %d writes, drift %q", r.Writes, r.Drift)
	}
	settled(t, k, some)
	resync(t, k, desired.State{})
	settled(t, k, desired.State{})
}

func changes(t *testing.T, k Kernel) {
	before := Attached(t, 1)
	apply(t, k, Diff(desired.State{}, before))
	after := With(t, before, NetworkOwner, changed(Network(), func(l *desired.Link) { l.MTU, l.MAC = 1300, "02:42:00:00:00:02" })...)
	rows := changed(Endpoint(0), func(l *desired.Link) {
		l.MTU = 1300
		l.Peer = &desired.Peer{Namespace: l.Peer.Namespace, Name: l.Peer.Name, MAC: "02:42:00:00:77:77"}
	})
	for i, r := range rows {
		if r, ok := r.(desired.Route); ok && r.Gateway.Is4() {
			r.Gateway = netip.MustParseAddr("10.9.0.254")
			rows[i] = r
		}
		if n, ok := r.(desired.Neigh); ok {
			n.MAC = "02:42:00:00:00:02"
			rows[i] = n
		}
	}
	after = With(t, after, EndpointOwner(0), rows...)
	apply(t, k, Diff(before, after))
	settled(t, k, after)
}

func changed(rows []desired.Row, f func(*desired.Link)) []desired.Row {
	rows = slices.Clone(rows)
	for i, r := range rows {
		if l, ok := r.(desired.Link); ok {
			f(&l)
			rows[i] = l
		}
	}
	return rows
}

func undoes(t *testing.T, k Kernel) {
	before, after := Attached(t, 1), Attached(t, 3)
	apply(t, k, Diff(desired.State{}, before))
	deltas := Diff(before, after)
	apply(t, k, deltas)
	var back []desired.Delta
	for _, d := range deltas {
		back = append(back, d.Invert())
	}
	apply(t, k, back)
	settled(t, k, before)
}

func removesMissing(t *testing.T, k Kernel) {
	apply(t, k, Diff(Attached(t, 2), desired.State{}))
	settled(t, k, desired.State{})
}

// attributes wants an endpoint on a bridge that nobody wants, beside a good one.
func attributes(t *testing.T, k Kernel) {
	want := Attached(t, 2)
	bad := With(t, want, EndpointOwner(1), changed(Endpoint(1), func(l *desired.Link) { l.Master = "br-nowhere" })...)
	err := k.Apply(t.Context(), Diff(desired.State{}, bad))
	failures := desired.Failures(err)
	if len(failures) == 0 {
		t.Fatalf("no failure for a missing bridge: %v", err)
	}
	for _, f := range failures {
		if f.Owner != EndpointOwner(1) {
			t.Errorf("failure of %s: %v", f.Owner, f)
		}
	}
	key := Endpoint(1)[0].Key()
	if !slices.ContainsFunc(failures, func(f *desired.Failure) bool { return f.Key == key }) {
		t.Errorf("no failure has the key %v: %v", key, err)
	}
	rest := With(t, bad, EndpointOwner(1))
	apply(t, k, Diff(bad, rest))
	settled(t, k, rest)
}

// wanders jumps between states in random order: wherever it comes from, the
// kernel ends as wanted.
func wanders(t *testing.T, k Kernel) {
	random := rand.New(rand.NewPCG(1, 2))
	at := desired.State{}
	for range 20 {
		next := Attached(t, 0)
		for i := range 3 {
			if random.IntN(2) == 0 {
				next = Attach(t, next, i)
			}
		}
		if random.IntN(5) == 0 {
			next = desired.State{}
		}
		apply(t, k, Diff(at, next))
		settled(t, k, next)
		at = next
	}
}

func nothing(t *testing.T, k Kernel) {
	apply(t, k, nil)
	settled(t, k, desired.State{})
}
