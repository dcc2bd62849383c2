package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/kernel/fake"
	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/store/mem"
)

// fakeWatcher is told by a test what others change.
type fakeWatcher struct {
	said chan []desired.Suspicion

	mu     sync.Mutex
	lost   []string // what the next repair finds
	err    error    // what it fails with, once
	looked [][]desired.Owner
}

func (f *fakeWatcher) Watch(ctx context.Context, _ func() desired.State) (<-chan []desired.Suspicion, error) {
	out := make(chan []desired.Suspicion)
	go func() {
		defer close(out)
		for {
			select {
			case list := <-f.said:
				out <- list
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func (f *fakeWatcher) Repair(_ context.Context, _ desired.State, owners []desired.Owner) (desired.Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = append(f.looked, owners)
	r, err := desired.Report{Drift: f.lost}, f.err
	f.lost, f.err = nil, nil
	return r, err
}

func (f *fakeWatcher) is(lost []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost, f.err = lost, err
}

func (f *fakeWatcher) looks() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprint(f.looked)
}

// watched is an engine with a watcher, and what it told.
func watched(t *testing.T) (*Engine, *fakeWatcher, <-chan Repair) {
	t.Helper()
	w, told := &fakeWatcher{said: make(chan []desired.Suspicion)}, make(chan Repair, 16)
	e, err := Open(t.Context(), Options{
		Store: &mem.Store{}, Hands: []Hand{&fake.Kernel{}}, Watcher: w, Logger: slog.New(slog.DiscardHandler),
		Networks: ops.NetworkMaker{Drivers: all.Drivers(), Bases: ipam.DefaultBases()},
		Repaired: func(r Repair) { told <- r },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	if _, err := e.Do(t.Context(), e.options.Networks.Predefine(named("bridge"), named("host"), named("null"))); err != nil {
		t.Fatal(err)
	}
	return e, w, told
}

func receiveRepair(t *testing.T, told <-chan Repair) Repair {
	t.Helper()
	select {
	case r := <-told:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("no repair in time")
		panic("unreachable")
	}
}

// TestRepair: what others change is looked at, and told if something was lost. What
// nobody wants is not looked at; what fails is tried again.
func TestRepair(t *testing.T) {
	e, w, told := watched(t)
	network := desired.OwnerOf("network", named("bridge").ID)
	w.is([]string{"table inet linkspan: missing", "link host docker0 type bridge: missing", "addr host docker0 172.17.0.1/16: missing"}, nil)
	w.said <- []desired.Suspicion{{Owner: desired.Firewall, Who: "nft (process 7)"}, {Owner: network, Who: "ip (process 8)"}, {Owner: "endpoint/nobody"}}
	r := receiveRepair(t, told)
	if r.Who != "nft (process 7), ip (process 8)" || len(r.Lost) != 3 || r.Pause != 0 {
		t.Errorf("%+v", r)
	}
	if k := r.Kinds(); k[desired.KindPolicy] != 1 || k[desired.KindLink] != 1 || k[desired.KindAddr] != 1 || len(k) != 3 {
		t.Errorf("kinds %v", k)
	}
	if want := fmt.Sprint([][]desired.Owner{{desired.Firewall, network}}); w.looks() != want {
		t.Errorf("looked at %s, want %s", w.looks(), want)
	}

	w.is(nil, errors.New("the kernel is busy"))
	w.said <- []desired.Suspicion{{Owner: network}}
	for deadline := time.Now().Add(10 * time.Second); strings.Count(w.looks(), string(network)) < 3; {
		if time.Now().After(deadline) {
			t.Fatalf("not tried again: %s", w.looks())
		}
		time.Sleep(time.Millisecond) // poll
	}
	if err := e.Observe(t.Context()); err != nil { // the turn goes on
		t.Error(err)
	}
	select {
	case r := <-told:
		t.Errorf("told of nothing: %+v", r)
	default:
	}
}

// TestRepairIsTriedAgain: what fails at the first time has no pause yet, and nobody tells
// of it again.
func TestRepairIsTriedAgain(t *testing.T) {
	_, w, _ := watched(t)
	w.is(nil, errors.New("what it hangs on is missing"))
	w.said <- []desired.Suspicion{{Owner: desired.EverythingOnHost}}
	for deadline := time.Now().Add(10 * time.Second); strings.Count(w.looks(), string(desired.EverythingOnHost)) < 2; {
		if time.Now().After(deadline) {
			t.Fatalf("not tried again: %s", w.looks())
		}
		time.Sleep(time.Millisecond) // poll
	}
}

// TestRepairMeetsPause: the same loss again and again is put right later and later.
func TestRepairMeetsPause(t *testing.T) {
	_, w, told := watched(t)
	var pauses []time.Duration
	for range 4 {
		w.is([]string{"table inet linkspan: missing"}, nil)
		w.said <- []desired.Suspicion{{Owner: desired.Firewall}}
		pauses = append(pauses, receiveRepair(t, told).Pause)
	}
	if !slices.IsSorted(pauses) || pauses[0] != 0 || pauses[3] < limits.PauseFirst {
		t.Errorf("pauses %v", pauses)
	}
}

// TestRepairLine: a line in the log stays short, however much is lost.
func TestRepairLine(t *testing.T) {
	lost := withoutParts([]string{
		"table inet linkspan: missing", "table inet linkspan: set bridges: br0: missing", "table inet linkspan2: set x: missing",
		"table bridge linkspan: set pinned: missing", "table bridge linkspan: set pinned: veth1: missing", "link host br0: missing",
	})
	if want := []string{
		"table inet linkspan: missing", "table inet linkspan2: set x: missing", "table bridge linkspan: set pinned: missing", "link host br0: missing",
	}; !slices.Equal(lost, want) {
		t.Errorf("%q", lost)
	}
	if got := (Repair{Lost: slices.Repeat([]string{"x"}, 100)}).String(); got != "x; x; x; x; x; x; x; x; 92 more" {
		t.Error(got)
	}
}
