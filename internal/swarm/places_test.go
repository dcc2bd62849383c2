package swarm

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	cluster "github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// house is a host with the model alone.
type house struct {
	mu      sync.Mutex
	now     *state.Snapshot
	dropped []model.NetworkID
}

func (h *house) Snapshot() *state.Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *house) change(f func(*state.Tx)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	tx := state.Begin(h.now, facts.Set{})
	f(tx)
	h.now, _ = tx.Commit()
}

func (h *house) EnsureOverlay(_ context.Context, n model.Network) error {
	h.change(func(tx *state.Tx) { tx.PutNetwork(n) })
	return nil
}

func (h *house) DropOverlay(_ context.Context, id model.NetworkID) error {
	h.change(func(tx *state.Tx) { tx.DeleteNetwork(id) })
	h.mu.Lock()
	h.dropped = append(h.dropped, id)
	h.mu.Unlock()
	return nil
}

func (h *house) EnsureGateway(context.Context) error { return nil }

var overlay = model.Network{ID: "ovid", Name: "ov", Driver: "overlay", Scope: model.ScopeSwarm, IPv4: true,
	IPAM: model.IPAM{Pools: []model.Pool{{Subnet: netip.MustParsePrefix("10.0.1.0/24"), Gateway: netip.MustParseAddr("10.0.1.1")}}}}

// seated puts a container on the overlay, up or down.
func (h *house) seated(up bool, addr string) {
	h.change(func(tx *state.Tx) {
		tx.PutSandbox(model.Sandbox{ID: "sb", Container: "c", Name: "web", Mode: model.SandboxOwn, Up: up})
		tx.PutEndpoint(model.Endpoint{ID: "e", Network: overlay.ID, Sandbox: "sb", Up: up, Addr4: netip.MustParseAddr(addr)})
	})
}

func newHouse(t *testing.T) (*house, *Manager) {
	t.Helper()
	h := &house{now: state.Empty()}
	m := New(Options{Root: t.TempDir(), ExecRoot: t.TempDir(), Engine: h, Overlays: h, Logger: slog.New(slog.DiscardHandler)})
	if err := m.Open(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return h, m
}

func given(task string) cluster.Place {
	return cluster.Place{Task: task, Container: "c", Network: overlay, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.1.5/24")}}
}

// left tells whether a place ends, which it must within the patience if it is to.
func left(t *testing.T, m *Manager, p cluster.Place, patience time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return placeKeeper{m.seats}.Left(ctx, p) == nil
}

const soon = 10 * time.Second

// TestAPlaceOfAnEarlierLife: after a restart a place lasts while its container is on the
// network with the place's address, and the network goes with the last one.
func TestAPlaceOfAnEarlierLife(t *testing.T) {
	h, m := newHouse(t)
	h.seated(true, "10.0.1.5")
	ended := make(chan bool, 1)
	go func() { ended <- left(t, m, given("one"), soon) }()
	if left(t, m, given("one"), 50*time.Millisecond) {
		t.Fatal("the place of a container that is there has ended")
	}
	h.seated(false, "10.0.1.5")
	m.Settle()
	if !<-ended {
		t.Fatal("the place of a container that has left goes on")
	}
	if _, there := h.Snapshot().Network(overlay.ID); there {
		t.Error("the network stays without anybody")
	}
}

// TestAPlaceThatNobodyHas: nobody asked for it, or with another address.
func TestAPlaceThatNobodyHas(t *testing.T) {
	h, m := newHouse(t)
	if !left(t, m, given("one"), soon) {
		t.Error("a place of no container goes on")
	}
	h.seated(true, "10.0.1.6")
	if !left(t, m, given("two"), soon) {
		t.Error("a place with an address that its container does not have goes on")
	}
	if _, there := h.Snapshot().Network(overlay.ID); !there {
		t.Error("the network has gone while a container is on it")
	}
}

// TestAPlaceThatSomebodyWaitsFor: it lasts until who asked says that it is used, and
// then while it is.
func TestAPlaceThatSomebodyWaitsFor(t *testing.T) {
	h, m := newHouse(t)
	w := m.ask("c", "ov")
	if err := (placeKeeper{m.seats}).Place(t.Context(), given("one")); err != nil {
		t.Fatal(err)
	}
	p := m.claim("one")
	m.unask(w)
	m.Settle()
	if !isClosed(p.given) || isClosed(p.gone) || p.addrs[0].String() != "10.0.1.5" {
		t.Fatalf("%+v", p)
	}
	if _, there := h.Snapshot().Network(overlay.ID); !there {
		t.Error("the network is not here")
	}
	m.mu.Lock()
	p.busy = false // as Seat's used does
	m.mu.Unlock()
	m.Settle()
	if !isClosed(p.gone) || !left(t, m, given("one"), soon) {
		t.Error("a place goes on that nobody came to use")
	}
	lost := m.ask("c", "ovi") // the answer to this one is lost, the place comes
	if err := (placeKeeper{m.seats}).Place(t.Context(), given("two")); err != nil {
		t.Fatal(err)
	}
	m.unask(lost)
	m.Settle()
	if !left(t, m, given("two"), soon) {
		t.Error("a place goes on whose answer was lost")
	}
}

// TestNetworksThatTasksNeed stay until the last says otherwise.
func TestNetworksThatTasksNeed(t *testing.T) {
	h, m := newHouse(t)
	for _, task := range []string{"a", "b", "a"} {
		if err := m.EnsureFor(t.Context(), task, overlay); err != nil {
			t.Fatal(err)
		}
	}
	m.DropFor(t.Context(), "a", overlay.ID)
	if _, there := h.Snapshot().Network(overlay.ID); !there {
		t.Error("the network has gone, and b needs it")
	}
	m.DropFor(t.Context(), "b", overlay.ID)
	if len(h.dropped) != 1 {
		t.Errorf("dropped %v", h.dropped)
	}
}

// TestWithoutASwarm: nothing is given, and Docker's words say so.
func TestWithoutASwarm(t *testing.T) {
	_, m := newHouse(t)
	if _, _, _, err := m.Seat(t.Context(), "c", "ov", nil); model.KindOf(err) != model.NotFound || err.Error() != "network ov not found" {
		t.Error(err)
	}
	if err := m.Leave(t.Context(), true); err == nil || err.Error() != "This node is not part of a swarm" {
		t.Error(err)
	}
	if err := m.Unlock(t.Context(), "x"); model.KindOf(err) != model.Unavailable {
		t.Error(err)
	}
	if m.Status() != "inactive" || m.Info(t.Context()).RemoteManagers == nil {
		t.Errorf("%s, %+v", m.Status(), m.Info(t.Context()))
	}
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
