package engine

import (
	"errors"
	"fmt"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/fake"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// foreign commits an op as another writer of the store would. The op sees no facts.
func (r *rig) foreign(t testing.TB, op ops.Op) error {
	t.Helper()
	s, err := r.store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tx := ops.Begin(s, facts.Set{}, r.options.Networks.Drivers)
	if err := op(tx); err != nil {
		return err
	}
	next, changes := tx.Commit()
	if err := r.store.Commit(t.Context(), state.Commit{Base: s.Revision, Revision: next.Revision, Changes: changes}); err != nil {
		t.Fatal(err)
	}
	return nil
}

// beside returns an op during which another one is committed by somebody else, the
// first times that it runs.
func (r *rig) beside(t *testing.T, times int, op ops.Op, other func(i int) ops.Op) ops.Op {
	i := 0
	return func(tx ops.Tx) error {
		if i++; i <= times {
			if err := r.foreign(t, other(i)); err != nil {
				t.Error(err)
			}
		}
		return op(tx)
	}
}

// until asks the engine again and again until something is so.
func (r *rig) until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 100000 {
		if is() {
			return
		}
		if _, err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("never: %s", what)
}

// checkStored compares the model with the store, the plan with one from nothing, and
// the kernel with the plan.
func (r *rig) checkStored(t *testing.T) {
	t.Helper()
	stored, err := r.store.Load(t.Context())
	if err != nil || !same(stored, r.Snapshot()) {
		t.Errorf("stored (%v):\n%s\nthe model:\n%s", err, describe(stored), describe(r.Snapshot()))
	}
	if got, want := r.Plan().String(), r.full(t); got != want {
		t.Errorf("the plan:\n%s\nfrom nothing:\n%s", got, want)
	}
	checkFresh(t, r)
}

// TestOthersCommitsAreFollowed: two engines on one store, each with a kernel of its
// own, come to the same.
func TestOthersCommitsAreFollowed(t *testing.T) {
	r := newRig(t)
	other := &rig{kernel: &fake.Kernel{}, store: r.store, reserver: &fakeReserver{held: map[desired.Reserve]bool{}, outside: map[desired.Reserve]string{}}, serial: 100}
	other.open(t)
	for i := range 5 {
		name := fmt.Sprint("net", i)
		r.must(t, r.Networks().Create(network(name)))
		other.must(t, ops.StartSandbox(other.box(t, name, nil, "bridge")))
		r.must(t, ops.RemoveNetwork(name))
	}
	other.must(t, ops.StopSandbox(sandboxID("net3")), ops.RemoveSandbox(sandboxID("net3")))
	for _, e := range []*rig{r, other} {
		e.until(t, "the engine has what the store has", func() bool {
			stored, err := r.store.Load(t.Context())
			return err == nil && same(stored, e.Snapshot())
		})
		e.checkStored(t)
	}
	if r.kernel.String() != other.kernel.String() {
		t.Errorf("one kernel:\n%s\nthe other:\n%s", r.kernel, other.kernel)
	}
}

// TestStaleCommitRunsAgain: an op whose base is not so any more runs on what is.
func TestStaleCommitRunsAgain(t *testing.T) {
	r := newRig(t)
	id := r.box(t, "a", nil, "bridge")
	create := func(i int) ops.Op { return r.Networks().Create(network(fmt.Sprint("other", i))) }
	r.compiled = nil
	r.must(t, r.beside(t, 2, ops.StartSandbox(id), create))
	if sb, _ := r.Snapshot().Sandbox(id); !sb.Up {
		t.Error("the op did not take effect")
	}
	for i := 1; i <= 2; i++ {
		if _, ok := r.Snapshot().NetworkNamed(fmt.Sprint("other", i)); !ok {
			t.Errorf("what was stored %d is not known", i)
		}
	}
	for _, n := range r.compiled {
		if n > 2 {
			t.Errorf("compiled %v owners", r.compiled)
		}
	}
	r.checkStored(t)

	// It may turn out that it cannot be any more.
	taken := network("web")
	taken.ID = model.NetworkID(digits("somebody else's"))
	_, err := r.Do(t.Context(), r.beside(t, 1, r.Networks().Create(network("web")), func(int) ops.Op { return r.Networks().Create(taken) }))
	if model.KindOf(err) != model.Conflict {
		t.Errorf("error %v, want a conflict", err)
	}
	r.checkStored(t)

	// Or that others are faster all the time.
	var stale *state.Stale
	_, err = r.Do(t.Context(), r.beside(t, 10*maxStale, ops.StopSandbox(id), func(i int) ops.Op { return r.Networks().Create(network(fmt.Sprint("more", i))) }))
	if !errors.As(err, &stale) {
		t.Errorf("error %v, want that the base is stale", err)
	}
	r.must(t, ops.StopSandbox(id))
	r.checkStored(t)
}

// TestUndoOnAChangedStore: what the kernel refuses is taken back from a store that
// others have changed meanwhile. What they made of it stays.
func TestUndoOnAChangedStore(t *testing.T) {
	for name, other := range map[string]func(*rig) ops.Op{
		"another record": func(r *rig) ops.Op { return r.Networks().Create(network("other")) },
		"the record that the op wrote": func(r *rig) ops.Op {
			return ops.RenameSandbox(sandboxID("a"), "renamed")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.must(t, ops.StartSandbox(r.box(t, "b", nil, "bridge")))
			id := r.box(t, "a", nil, "bridge")
			r.options.Reached = func(stage string) {
				if stage == "commit" {
					r.options.Reached = nil
					if err := r.foreign(t, other(r)); err != nil {
						t.Error(err)
					}
				}
			}
			r.kernel.FailWrite(3)
			if _, err := r.Do(t.Context(), ops.StartSandbox(id)); err == nil || !r.kernel.Failed() {
				t.Fatalf("error %v", err)
			}
			if _, err := r.Check(t.Context()); err != nil { // once it has read the store anew
				t.Fatal(err)
			}
			_, created := r.Snapshot().NetworkNamed("other")
			sb, _ := r.Snapshot().Sandbox(id)
			if created == (sb.Name == "renamed") || sb.Up != (sb.Name == "renamed") {
				t.Errorf("the network is there: %t, the sandbox is %+v", created, sb)
			}
			r.checkStored(t)
		})
	}
}

// TestMissedCommit: an engine that has missed a commit reads all anew.
func TestMissedCommit(t *testing.T) {
	r := newRig(t)
	r.Close() // the calls below are the only writer
	if err := r.foreign(t, r.Networks().Create(network("web"))); err != nil {
		t.Fatal(err)
	}
	r.heard(t.Context(), state.Commit{Base: r.stored + 1, Revision: r.stored + 2})
	if _, ok := r.Snapshot().NetworkNamed("web"); !ok || r.behind || r.Plan().String() != r.full(t) {
		t.Errorf("the model is\n%s", describe(r.Snapshot()))
	}
}
