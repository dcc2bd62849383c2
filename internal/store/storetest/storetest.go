// Package storetest is what every store must do: the conformance tests of engine.Store
// (Run). Its names are the promises.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Store is what is tested; see engine.Store.
type Store interface {
	Load(ctx context.Context) (*state.Snapshot, error)
	Commit(ctx context.Context, commit state.Commit) error
	Watch(ctx context.Context) <-chan state.Commit
}

// Run holds a store to its promises. open returns one that is empty.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for name, test := range map[string]func(*testing.T, Store){
		"what is committed is loaded":                    committedIsLoaded,
		"a stale base is refused and leaves nothing":     staleBase,
		"a revision follows its base":                    revisionsGrow,
		"of two writers on one base one wins":            oneWins,
		"who watches hears of all that is committed":     watched,
		"who does not read gets what came as one":        merged,
		"what is refused is told to nobody":              refusedIsNotTold,
		"a watch ends with its context, others stay":     watchEnds,
		"loaded and watched is the same as loaded later": watchedIsLoaded,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// renamed is a commit that gives the network n a name, "" to remove it, with its
// present name.
func renamed(base, revision uint64, n model.NetworkID, old, name string) state.Commit {
	c := state.Change{Kind: state.KindNetwork, ID: string(n)}
	if old != "" {
		c.Old = model.Network{ID: n, Name: old}
	}
	if name != "" {
		c.New = model.Network{ID: n, Name: name}
	}
	return state.Commit{Base: base, Revision: revision, Changes: []state.Change{c}}
}

func must(t *testing.T, s Store, commits ...state.Commit) {
	t.Helper()
	for _, c := range commits {
		if err := s.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}

// loaded prints the revision and the names of all networks.
func loaded(t *testing.T, s Store) string {
	t.Helper()
	snapshot, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return names(snapshot)
}

func names(s *state.Snapshot) string {
	var out []string
	for n := range s.Networks() {
		out = append(out, n.Name)
	}
	slices.Sort(out)
	return fmt.Sprint(s.Revision, out)
}

func committedIsLoaded(t *testing.T, s Store) {
	if got := loaded(t, s); got != "0 []" {
		t.Errorf("an empty store holds %s", got)
	}
	must(t, s, renamed(0, 3, "a", "", "one"), renamed(3, 4, "b", "", "two"), renamed(4, 9, "a", "one", "three"))
	if got := loaded(t, s); got != "9 [three two]" {
		t.Errorf("loaded %s", got)
	}
	must(t, s, renamed(9, 10, "a", "three", ""))
	if got := loaded(t, s); got != "10 [two]" {
		t.Errorf("loaded %s", got)
	}
}

func staleBase(t *testing.T, s Store) {
	must(t, s, renamed(0, 1, "a", "", "one"), renamed(1, 2, "b", "", "two"))
	for _, base := range []uint64{0, 1, 3} {
		var stale *state.Stale
		err := s.Commit(t.Context(), renamed(base, 7, "a", "one", "other"))
		if !errors.As(err, &stale) || *stale != (state.Stale{Base: base, Revision: 2}) {
			t.Errorf("base %d: %v", base, err)
		}
	}
	if got := loaded(t, s); got != "2 [one two]" {
		t.Errorf("loaded %s", got)
	}
}

func revisionsGrow(t *testing.T, s Store) {
	must(t, s, renamed(0, 5, "a", "", "one"))
	for _, revision := range []uint64{4, 5} {
		var stale *state.Stale
		if err := s.Commit(t.Context(), renamed(5, revision, "a", "one", "other")); err == nil || errors.As(err, &stale) {
			t.Errorf("revision %d after 5: %v", revision, err)
		}
	}
	if got := loaded(t, s); got != "5 [one]" {
		t.Errorf("loaded %s", got)
	}
}

func oneWins(t *testing.T, s Store) {
	const writers, rounds = 4, 25
	var won atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for base := range uint64(rounds) {
				name := fmt.Sprint(w)
				if err := s.Commit(t.Context(), renamed(base, base+1, model.NetworkID(fmt.Sprint("n", base)), "", name)); err == nil {
					won.Add(1)
				}
			}
		})
	}
	wg.Wait()
	snapshot, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if count := len(slices.Collect(snapshot.Networks())); int64(count) != won.Load() || snapshot.Revision != uint64(count) {
		t.Errorf("%d commits succeeded, %d records at revision %d", won.Load(), count, snapshot.Revision)
	}
}

func watched(t *testing.T, s Store) {
	must(t, s, renamed(0, 1, "a", "", "before"))
	first, second := s.Watch(t.Context()), s.Watch(t.Context())
	for base := range uint64(3) {
		sent := renamed(base+1, base+2, "a", "x", fmt.Sprint("name", base))
		must(t, s, sent)
		for _, c := range []<-chan state.Commit{first, second} {
			if got := <-c; got.Base != sent.Base || got.Revision != sent.Revision || len(got.Changes) != 1 || got.Changes[0].New.(model.Network).Name != fmt.Sprint("name", base) {
				t.Errorf("heard %+v, want %+v", got, sent)
			}
		}
	}
}

func merged(t *testing.T, s Store) {
	c := s.Watch(t.Context())
	must(t, s, renamed(0, 1, "a", "", "one"), renamed(1, 2, "b", "", "two"), renamed(2, 5, "a", "one", "three"))
	got := <-c
	if next, changes := state.Empty().Follow(got); got.Base != 0 || names(next) != "5 [three two]" || len(changes) != 2 {
		t.Errorf("heard %+v", got)
	}
	select {
	case more := <-c:
		t.Errorf("and then %+v", more)
	default:
	}
}

func refusedIsNotTold(t *testing.T, s Store) {
	c := s.Watch(t.Context())
	if err := s.Commit(t.Context(), renamed(7, 8, "a", "", "one")); err == nil {
		t.Fatal("a stale commit succeeded")
	}
	must(t, s, renamed(0, 1, "b", "", "two"))
	if got := <-c; got.Base != 0 || got.Revision != 1 {
		t.Errorf("heard %+v", got)
	}
}

func watchEnds(t *testing.T, s Store) {
	ctx, cancel := context.WithCancel(t.Context())
	ends, stays := s.Watch(ctx), s.Watch(t.Context())
	cancel()
	if got, open := <-ends; open {
		t.Errorf("heard %+v", got)
	}
	must(t, s, renamed(0, 1, "a", "", "one"))
	if got := <-stays; got.Revision != 1 {
		t.Errorf("heard %+v", got)
	}
}

func watchedIsLoaded(t *testing.T, s Store) {
	must(t, s, renamed(0, 1, "a", "", "one"))
	c := s.Watch(t.Context())
	now, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tx := state.Begin(now, facts.Set{})
	tx.PutNetwork(model.Network{ID: "a", Name: "two"}) // the name passes on within one commit
	tx.PutNetwork(model.Network{ID: "b", Name: "one"})
	_, changes := tx.Commit()
	must(t, s, state.Commit{Base: 1, Revision: 2, Changes: changes}, renamed(2, 3, "c", "", "three"), renamed(3, 4, "a", "two", ""))
	for now.Revision < 4 {
		now, _ = now.Follow(<-c)
	}
	if got, want := names(now), loaded(t, s); got != want {
		t.Errorf("watched %s, loaded %s", got, want)
	}
	if n, ok := now.NetworkNamed("one"); !ok || n.ID != "b" {
		t.Errorf("the name leads to %+v", n)
	}
}
