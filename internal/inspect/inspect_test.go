package inspect

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// still is an engine in which nothing happens.
type still struct{ snapshot *state.Snapshot }

func (s still) Snapshot() *state.Snapshot { return s.snapshot }
func (s still) Plan() desired.State       { return desired.State{} }

// publishing returns an engine with a container that runs and has port 8080 of the
// host.
func publishing(t *testing.T) still {
	t.Helper()
	maker := ops.NetworkMaker{Drivers: all.Drivers(), Bases: ipam.DefaultBases()}
	sb := model.Sandbox{ID: "s1", Container: "c1", Name: "web", Mode: model.SandboxOwn, Publish: []model.PortSpec{
		{Protocol: model.TCP, Container: model.Port(80), Host: netip.MustParseAddr("127.0.0.1"), HostPorts: model.Port(8080)}}}
	tx := ops.Begin(state.Empty(), facts.Set{}, maker.Drivers)
	for _, op := range []ops.Op{
		maker.Create(model.Network{ID: "n1", Name: "net", IPv4: true}),
		ops.CreateSandbox(sb, []ops.EndpointSpec{{ID: "e1", Network: "net"}}),
		ops.StartSandbox(sb.ID),
	} {
		if err := op(tx); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := tx.Commit()
	return still{s}
}

type counters struct {
	counted facts.Traffic
	err     error
}

// Traffic implements TrafficReader.
func (c counters) Traffic(context.Context) (facts.Traffic, error) { return c.counted, c.err }

// TestPortsWithoutCounters: what is published is known even if nothing can be counted.
func TestPortsWithoutCounters(t *testing.T) {
	broken := errors.New("no kernel")
	r := New(Options{Engine: publishing(t), Drivers: all.Drivers(), Traffic: counters{err: broken}})
	got, err := r.Traffic(t.Context())
	if !errors.Is(err, broken) || len(got.Ports) != 1 || got.Ports[0].Sandbox.Name != "web" || got.Ports[0].Counts != nil {
		t.Errorf("%+v, %v", got.Ports, err)
	}
}

// TestWhoHasAPort: a socket that holds it for its container is not somebody else's.
func TestWhoHasAPort(t *testing.T) {
	r := New(Options{Engine: publishing(t), Listeners: func(_ context.Context, port uint16) ([]facts.Listener, error) {
		return []facts.Listener{
			{Protocol: model.TCP, At: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Who: "keeper"},
			{Protocol: model.TCP, At: netip.AddrPortFrom(netip.MustParseAddr("::1"), port), Who: "nginx"},
		}, nil
	}})
	got, err := r.PortUsers(t.Context(), 8080)
	if err != nil || len(got.Containers) != 1 || !got.Containers[0].Running || len(got.Processes) != 1 || got.Processes[0].Who != "nginx" || got.Free() {
		t.Errorf("%+v, %v", got, err)
	}
	if other, err := New(Options{Engine: publishing(t)}).PortUsers(t.Context(), 8081); err != nil || !other.Free() {
		t.Errorf("%+v, %v", other, err)
	}
}
