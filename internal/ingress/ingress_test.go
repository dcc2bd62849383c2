package ingress

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/ops/overlays"
	"github.com/linkspan/linkspan/internal/state"
)

const ingressID = "ingress0000000000000000000"

// fakeEngine runs ops, and has a process of the host that may hold a port.
type fakeEngine struct {
	asked chan struct{} // gets a value with each op

	mu    sync.Mutex // guards the fields below
	now   *state.Snapshot
	known facts.Set
	fail  error
}

func (e *fakeEngine) Snapshot() *state.Snapshot { e.mu.Lock(); defer e.mu.Unlock(); return e.now }
func (e *fakeEngine) Facts() facts.Set          { e.mu.Lock(); defer e.mu.Unlock(); return e.known }

func (e *fakeEngine) Do(_ context.Context, op ops.Op) (*state.Snapshot, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked <- struct{}{}
	if e.fail != nil {
		return nil, e.fail
	}
	tx := ops.Begin(e.now, e.known, all.Drivers())
	tx.Maker.Bases = ipam.DefaultBases()
	if err := op(tx); err != nil {
		return nil, err
	}
	e.now, _ = tx.Commit()
	return e.now, nil
}

func (e *fakeEngine) change(f func()) { e.mu.Lock(); defer e.mu.Unlock(); f() }

// await waits until n more ops were asked for, and what follows from them is done.
func (e *fakeEngine) await(n int) {
	for range n {
		<-e.asked
	}
	synctest.Wait()
}

// idle fails the test if an op is asked for.
func (e *fakeEngine) idle(t *testing.T, why string) {
	t.Helper()
	select {
	case <-e.asked:
		t.Errorf("%s, and yet an op is asked for", why)
	case <-time.After(3 * retryAfter): // in a bubble: at once, if nobody has anything to do
	}
}

func (e *fakeEngine) ports() int {
	sb, _ := e.Snapshot().Sandbox(model.IngressSandbox(ingressID).ID)
	return len(sb.Publish)
}

// TestRefusedPorts are said once, tried again, and had when they are free; what nobody wants
// any more goes. An engine that fails is asked again.
func TestRefusedPorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := &fakeEngine{asked: make(chan struct{}, 1), now: state.Empty()}
		_, err := e.Do(t.Context(), overlays.Put(model.Network{
			ID: ingressID, Name: "ingress", Driver: model.DriverOverlay, IPv4: true, Ingress: true,
			Options: map[string]string{"com.docker.network.driver.overlay.vxlanid_list": "4096"},
			IPAM:    model.IPAM{Driver: "default", Pools: []model.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1")}}},
		}))
		if err != nil {
			t.Fatal(err)
		}
		<-e.asked
		m := New(e, slog.New(slog.NewTextHandler(&log, nil)))
		m.Start(t.Context())
		e.idle(t, "nobody wants a port")
		task := model.Remote{Network: ingressID, Endpoint: "e", VTEP: netip.MustParseAddr("192.0.2.2"), Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.9")},
			Service: &model.ServiceEndpoint{Service: "s", Name: "web", Ingress: []model.IngressPort{{Protocol: model.TCP, Target: 80, Published: 8080}}}}
		e.change(func() {
			e.known = facts.Set{}.With(facts.Overlay{ID: ingressID, Local: netip.MustParseAddr("192.0.2.1"), Remotes: []model.Remote{task}})
			e.known.Taken = []facts.TakenPorts{{Protocol: model.TCP, Addr: netip.IPv4Unspecified(), Ports: model.Port(8080), Why: "address already in use", Who: "process nginx, pid 1"}}
		})
		m.Wake()
		e.await(3)
		if n := strings.Count(log.String(), "process nginx, pid 1"); n != 1 || e.ports() != 0 {
			t.Errorf("said %d times, %d ports:\n%s", n, e.ports(), &log)
		}
		e.change(func() { e.known.Taken = nil })
		e.await(1)
		if e.ports() != 1 || !strings.Contains(log.String(), "is free") {
			t.Errorf("%d ports:\n%s", e.ports(), &log)
		}
		e.idle(t, "what is wanted is published")
		e.change(func() { e.known, e.fail = facts.Set{}, errors.New("no kernel") })
		m.Wake()
		e.await(1)
		e.change(func() { e.fail = nil })
		e.await(1)
		if e.ports() != 0 {
			t.Error("ports of no service stay")
		}
		m.Close()
	})
}
