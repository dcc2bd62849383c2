package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/engine"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/fake"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/nft"
	"github.com/linkspan/linkspan/internal/kernel/sockets"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/resolver"
	"github.com/linkspan/linkspan/internal/store/bolt"
)

// BenchmarkAttach gives the medians of one endpoint's attach and of its detach, each from the call
// of engine.Do to its answer: namespace, veth pair, bridge port, address, route,
// firewall elements and names, with others already there.
func BenchmarkAttach(b *testing.B) {
	for _, others := range []int{1, 1000} {
		b.Run(fmt.Sprintf("kernel/%d", others), func(b *testing.B) { attach(b, others, realHands(b)) })
	}
	for _, others := range []int{1, 1000, 10_000} {
		b.Run(fmt.Sprintf("fake/%d", others), func(b *testing.B) { attach(b, others, []engine.Hand{&fake.Kernel{}}) })
	}
}

// portsPerBridge stays below the kernel's limit of 1023 (BR_MAX_PORTS).
const portsPerBridge = 900

func attach(b *testing.B, others int, hands []engine.Hand) {
	store, err := bolt.Open(filepath.Join(b.TempDir(), "state.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	maker := ops.NetworkMaker{Drivers: all.Drivers(), Bases: ipam.DefaultBases()}
	e, err := engine.Open(context.Background(), engine.Options{
		Store: store, Hands: hands, Logger: slog.New(slog.DiscardHandler), Networks: maker,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	for i := range others/portsPerBridge + 1 {
		do(b, e, maker.Create(model.Network{ID: id[model.NetworkID]("n", i), Name: network(i), IPv4: true}))
	}
	for i := range others {
		up(b, e, i)
	}
	var attached, detached []time.Duration
	for n := others; b.Loop(); n++ { // it alone counts: setting up the others takes longer
		do(b, e, ops.CreateSandbox(box(n), []ops.EndpointSpec{{ID: id[model.EndpointID]("e", n), Network: network(others / portsPerBridge)}}))
		start := time.Now()
		do(b, e, ops.StartSandbox(box(n).ID))
		mid := time.Now()
		do(b, e, ops.StopSandbox(box(n).ID))
		attached, detached = append(attached, mid.Sub(start)), append(detached, time.Since(mid))
		do(b, e, ops.RemoveSandbox(box(n).ID))
	}
	b.ReportMetric(median(attached), "ms/attach")
	b.ReportMetric(median(detached), "ms/detach")
	takeDown(b, e, others)
}

// median returns the middle of times, in milliseconds.
func median(times []time.Duration) float64 {
	slices.Sort(times)
	return float64(times[len(times)/2].Microseconds()) / 1000
}

func up(b *testing.B, e *engine.Engine, i int) {
	do(b, e, ops.All(
		ops.CreateSandbox(box(i), []ops.EndpointSpec{{ID: id[model.EndpointID]("e", i), Network: network(i / portsPerBridge)}}),
		ops.StartSandbox(box(i).ID)))
}

// takeDown takes everything down again, so that namespaces do not outlive the
// benchmark.
func takeDown(b *testing.B, e *engine.Engine, others int) {
	for i := range others {
		do(b, e, ops.RemoveSandbox(box(i).ID))
	}
	for i := range others/portsPerBridge + 1 {
		do(b, e, ops.RemoveNetwork(network(i)))
	}
}

func do(b *testing.B, e *engine.Engine, op ops.Op) {
	b.Helper()
	if _, err := e.Do(context.Background(), op); err != nil {
		b.Fatal(err)
	}
}

func network(i int) string { return fmt.Sprint("net", i) }

func box(i int) model.Sandbox {
	return model.Sandbox{ID: id[model.SandboxID]("s", i), Container: id[model.ContainerID]("c", i), Name: fmt.Sprint("box", i), Mode: model.SandboxOwn}
}

// id returns 64 hexadecimal digits that differ for every kind and number, in
// the beginning too.
func id[T ~string](kind string, i int) T { return T(fmt.Sprintf("%02x%010x%052x", kind, i, 0)) }

// realHands returns the kernel of a fresh network namespace.
func realHands(b *testing.B) []engine.Hand {
	host := kerneltest.New(b)
	file, err := os.Open(host.Netns)
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	firewall, err := nft.New(nft.Options{Instance: "bench", Logger: log, NetNS: int(file.Fd())})
	if err != nil {
		b.Fatal(err)
	}
	k, err := kernel.New(kernel.Options{
		Instance: "bench", Logger: log, NetnsDir: host.Dir, Firewall: firewall, Balancer: nft.Balancer{Instance: "bench", Logger: log}, HostNetns: host.Netns,
	})
	if err != nil {
		b.Fatal(err)
	}
	names := resolver.New(resolver.Options{Opener: sockets.Opener{Namespaces: k.Netns()}, HostServers: func() []netip.Addr { return nil }})
	b.Cleanup(func() { names.Close(); k.Close(); firewall.Close(); file.Close() })
	return []engine.Hand{k, names}
}
