package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

const lateWalks = 30

// lateWalk is a walk among facts that come, change and go, sources that fail, a kernel
// that refuses, another writer of the store, and restarts.
type lateWalk struct {
	*rig
	t      *testing.T
	rng    *rand.Rand
	source *fakeSource
	done   int // steps that took effect
	rivals int // commits of the other writer
}

// TestPathIndependenceOfFacts: after every step the incremental plan equals the full
// one, model and store agree, and what is known is what the source gave for endpoints
// that are up. At the end the kernel equals one built from nothing.
func TestPathIndependenceOfFacts(t *testing.T) {
	var walks, done, rivals atomic.Int64
	t.Cleanup(func() { // once all have ended
		if done.Load() < walks.Load()*walkLen/4 || rivals.Load() < walks.Load() {
			t.Errorf("%d steps and %d of the other writer took effect: the walks go nowhere", done.Load(), rivals.Load())
		}
	})
	for seed := range uint64(lateWalks) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := &lateWalk{rig: newRig(t), t: t, rng: rand.New(rand.NewPCG(seed, 5)), source: newSource()}
			w.Close()
			w.rig.source = w.source
			w.open(t)
			for range walkLen {
				w.compiled = nil
				limit := w.step()
				w.check()
				if len(w.compiled) > 0 && slices.Max(w.compiled) > limit {
					t.Fatalf("a step compiled %v owners, want at most %d at once", w.compiled, limit)
				}
			}
			walks.Add(1)
			done.Add(int64(w.done))
			rivals.Add(int64(w.rivals))
			checkFresh(t, w.rig)
		})
	}
}

// step does one thing, and returns how many owners it may compile at once.
func (w *lateWalk) step() int {
	if w.rng.IntN(5) == 0 {
		w.kernel.FailWrite(1 + w.rng.IntN(8))
		defer w.kernel.FailWrite(0)
	}
	w.source.mu.Lock()
	if w.source.broken = nil; w.rng.IntN(8) == 0 {
		w.source.broken = errors.New("no DHCP server answers")
	}
	w.source.mu.Unlock()
	switch w.rng.IntN(12) {
	case 0, 1, 2:
		w.learn()
		return 2
	case 3:
		w.observe(func(h *facts.Host) {
			h.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(w.rng.IntN(3))})}
		})
		return 1
	case 4:
		w.observe(func(h *facts.Host) { h.Packets.Out4 = 65536 << w.rng.IntN(3) })
		return 1 << 30 // it concerns everybody
	case 5:
		w.rival(w.someOp())
		return mostOwners
	case 6:
		w.do(func(tx ops.Tx) error {
			w.rival(w.someOp())
			return w.someOp()(tx)
		})
		return 2 * (maxStale + 1) * mostOwners
	case 7:
		if w.rng.IntN(3) == 0 {
			w.restart(w.t)
		}
	}
	w.do(w.someOp())
	return mostOwners
}

func (w *lateWalk) do(op ops.Op) {
	if _, err := w.Do(w.t.Context(), op); err == nil {
		w.done++
	}
}

// someOp draws what a user asks for. Who starts must know its addresses on networks of
// the driver leased.
func (w *lateWalk) someOp() ops.Op {
	box := string(rune('a' + w.rng.IntN(5)))
	switch w.rng.IntN(8) {
	case 0:
		return w.Networks().Create(leasedNetwork([]string{"lan", "vlan"}[w.rng.IntN(2)]))
	case 1:
		on := []ops.EndpointSpec{w.on("bridge"), w.on([]string{"lan", "vlan"}[w.rng.IntN(2)])}
		return ops.All(ops.CreateContainer(recordOf(box, box)), ops.CreateSandbox(sandbox(box), on))
	case 2:
		return ops.Connect(sandboxID(box), w.on("lan"))
	case 3, 4:
		return startAsking(box)
	}
	return w.randomOp(w.rng)
}

// startAsking starts a container once it knows what it is given on all its networks.
func startAsking(box string) ops.Op {
	return func(tx ops.Tx) error {
		sb, _ := tx.View().Sandbox(sandboxID(box))
		for e := range tx.View().EndpointsOf(sb.ID) {
			if n, _ := tx.View().Network(e.Network); n.Driver == "leased" && tx.Facts().Endpoint(e.ID).Empty() {
				return &facts.Missing{Question: facts.Question{Network: n, Endpoint: e, Sandbox: sb}}
			}
		}
		return ops.StartSandbox(sb.ID)(tx)
	}
}

// learn lets a lease change, or end; or somebody speak of an endpoint that is not up.
func (w *lateWalk) learn() {
	w.quiet(w.t)
	all := slices.Collect(w.Snapshot().Endpoints())
	if len(all) == 0 {
		return
	}
	e := all[w.rng.IntN(len(all))]
	old, next := w.now.Load().facts.Endpoint(e.ID), lease(e.ID, "")
	if w.rng.IntN(4) > 0 {
		next = lease(e.ID, fmt.Sprintf("203.0.%d.%d/16", w.rng.IntN(256), w.rng.IntN(256)))
	}
	w.source.hold(next)
	err := w.Learn(w.t.Context(), next)
	if err != nil {
		w.source.hold(old)
	} else {
		w.done++
	}
	if known := w.now.Load().facts.Endpoint(e.ID); err == nil && known != next || err != nil && known != old {
		w.t.Errorf("learned %v (%v), known is %v", next, err, known)
	}
	if !e.Up && !next.Empty() && model.KindOf(err) != model.NotFound {
		w.t.Errorf("learned about an endpoint that is not up: %v", err)
	}
}

// hold makes a fact what the source has given.
func (s *fakeSource) hold(f facts.Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.given, f.ID); !f.Empty() {
		s.given[f.ID] = f
	}
}

// observe lets the host change.
func (w *lateWalk) observe(change func(*facts.Host)) {
	host := w.now.Load().facts.Host
	change(&host)
	w.options.Observer = fixedFacts(host)
	if err := w.Observe(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.done++
}

// rival lets somebody else commit an op.
func (w *lateWalk) rival(op ops.Op) {
	if w.foreign(w.t, op) == nil {
		w.rivals++
	}
}

// check compares all there is, once the engine has heard of all.
func (w *lateWalk) check() {
	t := w.t
	t.Helper()
	w.kernel.FailWrite(0)
	w.until(t, "the engine has what the store has", func() bool {
		stored, err := w.store.Load(t.Context())
		return err == nil && same(stored, w.Snapshot())
	})
	if w.owed.late() {
		if _, err := w.Resync(t.Context()); err != nil || w.Await(t.Context()) != nil {
			t.Fatalf("the kernel stays late: %v", err)
		}
	}
	if got, want := w.Plan().String(), w.full(t); got != want {
		t.Fatalf("incremental plan:\n%s\nfull plan:\n%s", got, want)
	}
	checkRecords(t, w.Snapshot())
	for f := range w.now.Load().facts.Endpoints() {
		if e, _ := w.Snapshot().Endpoint(f.ID); !e.Up {
			t.Fatalf("known of an endpoint that is not up: %v", f)
		}
	}
	w.quiet(t)
	given, _ := w.source.Answers(t.Context())
	if known := slices.Collect(w.now.Load().facts.Endpoints()); len(given) != len(known) {
		t.Fatalf("given %v, known %v", given, known)
	}
	w.checkReserved(t)
}
