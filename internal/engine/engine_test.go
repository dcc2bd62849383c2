package engine

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

func TestRestartWritesNothing(t *testing.T) {
	r := newRig(t)
	r.must(t, r.Networks().Create(network("web")))
	r.must(t, ops.CreateSandbox(sandbox("a"), []ops.EndpointSpec{r.on("web"), r.on("bridge")}))
	r.must(t, ops.StartSandbox(sandboxID("a")))
	before, writes := r.kernel.String(), r.kernel.Writes()
	r.restart(t)
	if got := r.kernel.Writes(); got != writes {
		t.Errorf("the restart wrote %d times", got-writes)
	}
	if r.kernel.String() != before {
		t.Errorf("the kernel differs after a restart:\n%s\nbefore:\n%s", r.kernel, before)
	}
}

func TestResyncRepairsWhatWasLost(t *testing.T) {
	r := newRig(t)
	r.must(t, ops.CreateSandbox(sandbox("a"), []ops.EndpointSpec{r.on("bridge")}))
	r.must(t, ops.StartSandbox(sandboxID("a")))
	want := r.kernel.String()
	if !r.kernel.Lose(desired.Link{Name: "docker0"}.Key()) {
		t.Fatal("there was no docker0 to lose")
	}
	report, err := r.Resync(t.Context())
	if err != nil || len(report.Drift) == 0 {
		t.Fatalf("report %v, error %v", report, err)
	}
	if got := r.kernel.String(); got != want {
		t.Errorf("after the repair:\n%s\nwant:\n%s", got, want)
	}
	if report, _ := r.Resync(t.Context()); report.Writes != 0 || len(report.Drift) != 0 {
		t.Errorf("the second resync found %v and wrote %d times", report.Drift, report.Writes)
	}
}

func TestFaultAtEveryWriteLeavesNoTrace(t *testing.T) {
	r := newRig(t)
	r.must(t, r.Networks().Create(network("web")))
	r.must(t, ops.CreateSandbox(sandbox("other"), []ops.EndpointSpec{r.on("web")}))
	r.must(t, ops.StartSandbox(sandboxID("other")))
	r.must(t, ops.CreateSandbox(sandbox("a"), []ops.EndpointSpec{r.on("web"), r.on("bridge")}))
	connect := r.on("web")
	for _, request := range []struct {
		name string
		op   ops.Op
	}{
		{"create network", r.Networks().Create(network("more"))},
		{"start", ops.StartSandbox(sandboxID("a"))},
		{"stop", ops.StopSandbox(sandboxID("other"))},
		{"connect", ops.All(ops.CreateSandbox(sandbox("b"), nil), ops.StartSandbox(sandboxID("b")),
			ops.Connect(sandboxID("b"), connect))},
		{"remove", ops.RemoveSandbox(sandboxID("b"))},
		{"remove network", ops.RemoveNetwork("more")},
	} {
		name, op, faults := request.name, request.op, 0
		for n := 1; ; n++ {
			kernel, snapshot := r.kernel.String(), r.Snapshot()
			r.kernel.FailWrite(n)
			_, err := r.Do(t.Context(), op)
			if !r.kernel.Failed() {
				r.kernel.FailWrite(0)
				if err != nil {
					t.Fatalf("%s: without a fault: %v", name, err)
				}
				break
			}
			faults++
			if err == nil {
				t.Fatalf("%s: write %d failed and nobody was told", name, n)
			}
			if got := r.kernel.String(); got != kernel {
				t.Fatalf("%s: write %d failed and left the kernel as:\n%s\nbefore:\n%s", name, n, got, kernel)
			}
			if r.Snapshot() != snapshot {
				t.Fatalf("%s: write %d failed and changed the model", name, n)
			}
			if stored, err := r.store.Load(t.Context()); err != nil || !same(stored, snapshot) {
				t.Fatalf("%s: write %d failed and changed the store (%v)", name, n, err)
			}
		}
		if faults == 0 {
			t.Errorf("%s: no write was made to fail", name)
		}
	}
}

// same tells whether two snapshots hold the same records.
func same(a, b *state.Snapshot) bool {
	return describe(a) == describe(b)
}

func TestStoreThatFailsLosesNothing(t *testing.T) {
	r := newRig(t)
	full := errors.New("no space left on device")
	r.store.Fail = func() error { return full }
	kernel := r.kernel.String()
	if _, err := r.Do(t.Context(), r.Networks().Create(network("web"))); !errors.Is(err, full) {
		t.Fatalf("error %v, want that of the store", err)
	}
	if _, err := r.Snapshot().FindNetwork("web"); model.KindOf(err) != model.NotFound || r.kernel.String() != kernel {
		t.Error("a request that was not stored took effect")
	}
	r.store.Fail = nil
	r.must(t, r.Networks().Create(network("web")))
}

func TestGuiltyOpIsEvictedFromItsTurn(t *testing.T) {
	r := newRig(t)
	names := []string{"a", "b", "c", "d"}
	for _, name := range names {
		r.must(t, ops.CreateSandbox(sandbox(name), []ops.EndpointSpec{r.on("bridge")}))
	}
	r.kernel.FailWrite(9)
	batch := make([]*request, len(names))
	for i, name := range names {
		batch[i] = &request{ctx: t.Context(), op: ops.StartSandbox(sandboxID(name)), answer: make(chan answer, 1)}
	}
	r.Close() // the turn below is the only writer
	r.turn(t.Context(), batch)
	failed := 0
	for i, name := range names {
		a := <-batch[i].answer
		sb, _ := r.Snapshot().Sandbox(sandboxID(name))
		if (a.err == nil) != sb.Up {
			t.Errorf("%s: answered %v, but up is %v", name, a.err, sb.Up)
		}
		if a.err != nil {
			failed++
		}
	}
	if failed != 1 || !r.kernel.Failed() {
		t.Errorf("%d ops failed, want the one whose write was refused", failed)
	}
}

func TestUndoThatFailsIsCaughtUp(t *testing.T) {
	r := newRig(t)
	r.must(t, ops.CreateSandbox(sandbox("a"), []ops.EndpointSpec{r.on("bridge")}))
	before := r.kernel.String()
	stuck := &stuckHand{fail: 2}
	r.options.Hands = append(r.options.Hands, stuck)
	if _, err := r.Do(t.Context(), ops.StartSandbox(sandboxID("a"))); err == nil {
		t.Fatal("the op succeeded on a hand that is stuck")
	}
	<-stuck.resynced() // by itself, without anyone asking
	if _, err := r.Resync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.kernel.String(); got != before {
		t.Errorf("after catching up:\n%s\nwant:\n%s", got, before)
	}
}

// TestRequestsDoNotPutOffCatchingUp: somebody who looks again and again whether the
// kernel has followed does not keep it from doing so.
func TestRequestsDoNotPutOffCatchingUp(t *testing.T) {
	r := newRig(t)
	r.must(t, ops.CreateSandbox(sandbox("a"), []ops.EndpointSpec{r.on("bridge")}))
	stuck := &stuckHand{fail: 2}
	r.options.Hands = append(r.options.Hands, stuck)
	if _, err := r.Do(t.Context(), ops.StartSandbox(sandboxID("a"))); err == nil {
		t.Fatal("the op succeeded on a hand that is stuck")
	}
	done, limit := stuck.resynced(), time.After(20*time.Second)
	for {
		select {
		case <-done:
			return
		case <-limit:
			t.Fatal("the kernel is still late")
		default:
			if _, err := r.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// stuckHand refuses its first calls of Apply.
type stuckHand struct {
	fail int
	mu   sync.Mutex // guards seen
	seen chan struct{}
}

func (h *stuckHand) resynced() chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen == nil {
		h.seen = make(chan struct{}, 16)
	}
	return h.seen
}

func (h *stuckHand) Apply(context.Context, []desired.Delta) error {
	if h.fail--; h.fail >= 0 {
		return errors.New("stuck")
	}
	return nil
}

func (h *stuckHand) Resync(context.Context, desired.State) (desired.Report, error) {
	h.resynced() <- struct{}{}
	return desired.Report{}, nil
}

func (h *stuckHand) Check(context.Context, desired.State) (desired.Report, error) {
	return desired.Report{}, nil
}

func TestCallersInParallel(t *testing.T) {
	r := newRig(t)
	var wg sync.WaitGroup
	for _, name := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		spec := r.on("bridge")
		wg.Go(func() {
			for _, op := range []ops.Op{
				ops.CreateSandbox(sandbox(name), []ops.EndpointSpec{spec}),
				ops.StartSandbox(sandboxID(name)), ops.StopSandbox(sandboxID(name)), ops.StartSandbox(sandboxID(name)),
			} {
				if _, err := r.Do(context.Background(), op); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[netip.Addr]string{}
	for e := range r.Snapshot().Endpoints() {
		if other, twice := seen[e.Addr4]; twice || !e.Up {
			t.Errorf("endpoint %s: up %v, address %s also of %q", model.Short(e.ID), e.Up, e.Addr4, other)
		}
		seen[e.Addr4] = model.Short(e.ID)
	}
	if len(seen) != 26 {
		t.Errorf("%d endpoints are up, want 26", len(seen))
	}
}

func TestOpThatPanicsIsAnError(t *testing.T) {
	r := newRig(t)
	if _, err := r.Do(t.Context(), func(ops.Tx) error { panic("boom") }); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Fatalf("error %v", err)
	}
	r.must(t, r.Networks().Create(network("web")))
}

func TestCancelledCallerIsNotServed(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Do(ctx, r.Networks().Create(network("web"))); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	r.must(t, r.Networks().Create(network("web")))
}
