package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ops"
)

// TestAwait: the kernel refuses a row for a while. Who waits for its owner waits, who
// waits for others does not.
func TestAwait(t *testing.T) {
	r := newRig(t)
	r.must(t, r.Networks().Create(network("web")), ops.StartSandbox(r.box(t, "a", nil, "web")))
	if err := r.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	host := r.now.Load().facts.Host
	host.Packets = facts.Packets{Large4: true, Large6: true, Out4: 131072, Out6: 131072}
	r.options.Observer = fixedFacts(host)
	r.kernel.FailWrite(1)
	if err := r.Observe(t.Context()); err != nil || !r.kernel.Failed() {
		t.Fatalf("error %v, failed %t", err, r.kernel.Failed())
	}
	e, _ := r.Snapshot().EndpointAt(sandboxID("a"), network("web").ID)
	late := desired.OwnerOf("endpoint", e.ID)
	if err := r.Await(t.Context(), desired.HostOwner, desired.OwnerOf("sandbox", e.Sandbox)); err != nil {
		t.Errorf("others wait, too: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Await(ctx, late); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "injected") {
		t.Errorf("error %v, want that it was ended, and what is refused", err)
	}
	if err := r.Await(t.Context(), desired.HostOwner, late); err != nil { // the engine tries again by itself
		t.Fatal(err)
	}
	if report, err := r.Check(t.Context()); err != nil || len(report.Drift) != 0 {
		t.Errorf("awaited, and still %q (%v)", report.Drift, err)
	}
}

// TestAwaitEndsWithTheEngine: nobody waits for an engine that is gone.
func TestAwaitEndsWithTheEngine(t *testing.T) {
	r := newRig(t)
	stuck := &stuckHand{fail: 1 << 30}
	r.options.Hands = append(r.options.Hands, stuck)
	if _, err := r.Do(t.Context(), r.Networks().Create(network("web"))); err == nil {
		t.Fatal("the op succeeded on a hand that is stuck")
	}
	done := make(chan error, 1)
	go func() { done <- r.Await(context.Background(), "network/any") }()
	r.Close()
	if err := <-done; err != nil && !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("error %v", err)
	}
}
