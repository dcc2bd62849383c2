package networks

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/query"
	"github.com/linkspan/linkspan/internal/state"
)

// fakeEngine runs ops without a kernel; fail, if set, is the answer to all of them.
type fakeEngine struct {
	mu    sync.Mutex
	now   *state.Snapshot
	facts facts.Set  // as last looked at
	found facts.Host // when somebody looks
	fail  error
}

func (e *fakeEngine) Do(_ context.Context, op ops.Op) (*state.Snapshot, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	tx := ops.Begin(e.now, e.facts, all.Drivers())
	if err := errors.Join(e.fail, op(tx)); err != nil {
		return nil, err
	}
	e.now, _ = tx.Commit()
	return e.now, nil
}

func (e *fakeEngine) Snapshot() *state.Snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

func (e *fakeEngine) Facts() facts.Set { return e.facts }

func (e *fakeEngine) Observe(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.facts.Host = e.found
	return nil
}

// said remembers what was published.
type said []string

func (s *said) Publish(e events.Message) {
	*s = append(*s, fmt.Sprint(e.Type, " ", e.Action, " ", e.Actor.Attributes["name"]))
}

func newBench(t *testing.T) (*Manager, *fakeEngine, *said) {
	t.Helper()
	e, heard := &fakeEngine{now: state.Empty()}, &said{}
	m := New(Options{Engine: e, Events: heard, Maker: ops.NetworkMaker{Drivers: all.Drivers(), Bases: ipam.DefaultBases()}})
	if err := m.Predefine(t.Context(), DefaultBridge{}, Device{}, false); err != nil {
		t.Fatal(err)
	}
	return m, e, heard
}

func named(name string) CreateRequest {
	return CreateRequest{Network: model.Network{Name: name, IPv4: true}}
}

// TestCreateLooksAtTheHostFirst: a subnet that nobody asked for is none that the host
// has had a route to for a second.
func TestCreateLooksAtTheHostFirst(t *testing.T) {
	m, e, heard := newBench(t)
	e.found.OnLink = []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")}
	n, err := m.Create(t.Context(), named("web"))
	if err != nil || len(n.ID) != 64 || n.Created.IsZero() || n.Driver != "bridge" || n.IPAM.Pools[0].Subnet.String() != "172.19.0.0/16" {
		t.Fatalf("%+v, %v", n, err)
	}
	if got := strings.Join(*heard, ", "); got != "network create web" {
		t.Errorf("events: %s", got)
	}
	if v, err := m.Find(t.Context(), string(n.ID)[:12], ""); err != nil || v.Name != "web" || len(v.Members()) != 0 {
		t.Errorf("%+v, %v", v.Network, err)
	}
}

// TestWhoseFaultItIs: what the kernel refuses of the one object that the request made
// is told in the cause's words; what is ours is not.
func TestWhoseFaultItIs(t *testing.T) {
	m, e, heard := newBench(t)
	refusal := model.Errorf(model.Conflict, "the name is taken")
	e.fail = &desired.Failure{Err: refusal}
	if _, err := m.Create(t.Context(), named("web")); !errors.Is(err, refusal) || err.Error() != "the name is taken" {
		t.Errorf("%v", err)
	}
	e.fail = &desired.Failure{Err: model.Errorf(model.Internal, "no memory")}
	var failure *desired.Failure
	if _, err := m.Create(t.Context(), named("web")); !errors.As(err, &failure) {
		t.Errorf("%v", err)
	}
	if len(*heard) != 0 {
		t.Errorf("events of what did not happen: %s", *heard)
	}
}

// TestTemplatesAreNotSpokenOf when they go; nor does a prune take them.
func TestTemplatesAreNotSpokenOf(t *testing.T) {
	m, _, heard := newBench(t)
	for _, name := range []string{"one", "two"} {
		r := named(name)
		r.Network.ConfigOnly = name == "two"
		if _, err := m.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	*heard = nil
	removed, err := m.Prune(t.Context(), query.Filters{})
	if err != nil || !slices.Equal(removed, []string{"one"}) {
		t.Errorf("pruned %q, %v", removed, err)
	}
	if err := m.Remove(t.Context(), "two"); err != nil {
		t.Error(err)
	}
	if got := strings.Join(*heard, ", "); got != "network destroy one, network prune " {
		t.Errorf("events: %s", got)
	}
	if list, err := m.List(t.Context(), query.Filters{"type": {"custom"}}); err != nil || len(list) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}

func TestDriversAreSorted(t *testing.T) {
	m, _, _ := newBench(t)
	if got := m.Drivers(); !slices.IsSorted(got) || !slices.Contains(got, "bridge") || !slices.Contains(got, "null") {
		t.Errorf("%q", got)
	}
}

// FuzzFilter: whatever filters there are, they are refused or a network meets them
// or does not.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"", `{"dangling":["true"]}`, `{"dangling":["true","false"]}`, `{"dangling":[]}`, `{"name":["(("]}`, `{"type":["custom"]}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		filters, err := query.ParseFilters(text)
		if err != nil {
			return
		}
		if keep, err := filter(state.Empty(), filters); err == nil {
			keep(model.Network{Name: "web"})
		}
	})
}
