package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/kernel/fake"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/store/mem"
)

// rig is an engine on a fake kernel and a store in memory.
type rig struct {
	*Engine
	kernel   *fake.Kernel
	store    *mem.Store
	reserver *fakeReserver
	source   Source
	compiled []int // owners compiled, turn by turn
	serial   int
}

type fixedFacts facts.Host

func (f fixedFacts) Observe(context.Context) (facts.Host, error) { return facts.Host(f), nil }

// Networks returns what makes networks.
func (r *rig) Networks() ops.NetworkMaker { return r.options.Networks }

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{kernel: &fake.Kernel{}, store: &mem.Store{},
		reserver: &fakeReserver{held: map[desired.Reserve]bool{}, outside: map[desired.Reserve]string{}}}
	r.open(t)
	if _, err := r.Do(t.Context(), r.Networks().Predefine(named("bridge"), named("host"), named("null"))); err != nil {
		t.Fatal(err)
	}
	return r
}

func named(driver string) model.Network {
	name := map[string]string{"bridge": "bridge", "host": "host", "null": "none"}[driver]
	n := model.Network{ID: model.NetworkID(digits(name)), Name: name, Driver: driver, IPv4: driver == "bridge"}
	if driver == "bridge" {
		n.Options = map[string]string{"com.docker.network.bridge.name": "docker0"}
	}
	return n
}

// open starts an engine on what store and kernel hold.
func (r *rig) open(t testing.TB) {
	t.Helper()
	e, err := Open(context.Background(), Options{
		Store: r.store, Hands: []Hand{r.kernel},
		Observer: fixedFacts{Instance: "test", UniqueLocal: netip.MustParsePrefix("fd00:1::/48"),
			Packets: facts.Packets{Large4: true, Large6: true}},
		PortReserver: r.reserver,
		Source:       r.source,
		Networks:     ops.NetworkMaker{Drivers: append(all.Drivers(), leased{}), Bases: ipam.DefaultBases()},
		Logger:       slog.New(slog.DiscardHandler),
		Compiled:     func(n int) { r.compiled = append(r.compiled, n) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Engine = e
	t.Cleanup(e.Close)
}

// full plans the model from nothing.
func (r *rig) full(t testing.TB) string {
	t.Helper()
	want, err := plan.Input{Snapshot: r.Snapshot(), Facts: r.now.Load().facts, Drivers: r.options.Networks.Drivers}.Full()
	if err != nil {
		t.Fatal(err)
	}
	return want.String()
}

// restart ends the engine and starts another on the same store and kernel.
func (r *rig) restart(t *testing.T) {
	t.Helper()
	r.Close()
	r.open(t)
}

func (r *rig) must(t testing.TB, list ...ops.Op) {
	t.Helper()
	for _, op := range list {
		if _, err := r.Do(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
}

// digits returns 64 hexadecimal digits that begin with those of name's bytes.
func digits(name string) string {
	return (fmt.Sprintf("%x", name) + strings.Repeat("0", 64))[:64]
}

func network(name string) model.Network {
	return model.Network{ID: model.NetworkID(digits(name)), Name: name, IPv4: true, Created: time.Unix(0, 0).UTC()}
}

func sandbox(name string) model.Sandbox {
	return model.Sandbox{
		ID: model.SandboxID(digits("s" + name)), Container: model.ContainerID(digits("c" + name)),
		Name: name, Hostname: "host-" + name, Mode: model.SandboxOwn,
	}
}

func sandboxID(name string) model.SandboxID { return sandbox(name).ID }

// on returns a membership with an ID of its own.
func (r *rig) on(network string) ops.EndpointSpec {
	r.serial++
	return ops.EndpointSpec{ID: model.EndpointID(digits(fmt.Sprintf("e%d", r.serial))), Network: network}
}
