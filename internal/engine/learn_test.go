package engine

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/driver/bridge"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// leased is a bridge driver whose endpoints have, beside the address from the pool,
// one that somebody outside gave them.
type leased struct{ bridge.Driver }

func (leased) Name() string { return "leased" }

func (d leased) Plan(v driver.View) ([]desired.Row, error) {
	rows, err := d.Driver.Plan(v)
	if err == nil && v.Endpoint != nil && v.Learned.Addr4.IsValid() {
		rows = append(rows, desired.Addr{Namespace: model.NamespaceOf(v.Sandbox.Container), Link: v.Endpoint.Interface, Prefix: v.Learned.Addr4})
	}
	return rows, err
}

// Elsewhere writes rows of the sandbox.
func (d leased) Elsewhere(v driver.View, addrs []netip.Addr) []desired.Row {
	if v.Learned.Addr4.IsValid() {
		addrs = append(addrs, v.Learned.Addr4.Addr())
	}
	return d.Driver.Elsewhere(v, addrs)
}

// leasedNetwork is one of that driver.
func leasedNetwork(name string) model.Network {
	n := network(name)
	n.Driver = "leased"
	return n
}

// lease says which address an endpoint was given; "" is none any more.
func lease(id model.EndpointID, prefix string) facts.Endpoint {
	if prefix == "" {
		return facts.Endpoint{ID: id}
	}
	return facts.Endpoint{ID: id, Addr4: netip.MustParsePrefix(prefix)}
}

// joined starts a container on the default network and on one of the driver leased,
// and returns its endpoint there.
func (r *rig) joined(t *testing.T, box, net string) model.EndpointID {
	t.Helper()
	r.must(t, ops.StartSandbox(r.box(t, box, nil, "bridge", net)))
	e, ok := r.Snapshot().EndpointAt(sandboxID(box), network(net).ID)
	if !ok {
		t.Fatal("no endpoint")
	}
	return e.ID
}

// TestLearn: a lease comes, changes, and goes with its endpoint.
func TestLearn(t *testing.T) {
	r := newRig(t)
	r.must(t, r.Networks().Create(leasedNetwork("lan")))
	r.joined(t, "other", "lan")
	id := r.joined(t, "a", "lan")
	plain, revision := r.kernel.String(), r.Snapshot().Revision
	for _, prefix := range []string{"192.0.2.7/24", "192.0.2.9/24", "192.0.2.9/24", ""} {
		r.compiled = nil
		if err := r.Learn(t.Context(), lease(id, prefix)); err != nil {
			t.Fatal(err)
		}
		if r.Plan().String() != r.full(t) {
			t.Errorf("after %q the plan is\n%s\nplanned at once:\n%s", prefix, r.Plan(), r.full(t))
		}
		checkFresh(t, r)
		for _, p := range []string{"192.0.2.7/24", "192.0.2.9/24"} {
			if got := strings.Contains(r.kernel.String(), p); got != (p == prefix) {
				t.Errorf("after %q the kernel has %s: %t", prefix, p, got)
			}
		}
		if len(r.compiled) != 1 || r.compiled[0] > 2 {
			t.Errorf("%q compiled %v owners, want the endpoint and its sandbox", prefix, r.compiled)
		}
	}
	if r.kernel.String() != plain || r.Snapshot().Revision != revision {
		t.Errorf("what was learned and forgotten left\n%s", r.kernel)
	}
}

// TestFactsGoWithTheirEndpoint: who stops or leaves takes along what was known.
func TestFactsGoWithTheirEndpoint(t *testing.T) {
	r := newRig(t)
	r.must(t, r.Networks().Create(leasedNetwork("lan")))
	id := r.joined(t, "a", "lan")
	for _, leave := range []ops.Op{ops.StopSandbox(sandboxID("a")), ops.Disconnect(sandboxID("a"), "lan", false)} {
		if err := r.Learn(t.Context(), lease(id, "192.0.2.7/24")); err != nil {
			t.Fatal(err)
		}
		r.must(t, leave)
		if known := r.now.Load().facts.Endpoint(id); !known.Empty() {
			t.Errorf("still known: %+v", known)
		}
		if err := r.Learn(t.Context(), lease(id, "192.0.2.7/24")); model.KindOf(err) != model.NotFound {
			t.Errorf("learned about an endpoint that is not up: %v", err)
		}
		if err := r.Learn(t.Context(), lease(id, "")); err != nil {
			t.Errorf("forget what is forgotten: %v", err)
		}
		r.must(t, ops.StartSandbox(sandboxID("a")))
	}
}

// TestLearnIsAllOrNothing lets every write of it fail.
func TestLearnIsAllOrNothing(t *testing.T) {
	r := newRig(t)
	r.must(t, r.Networks().Create(leasedNetwork("lan")))
	a, b := r.joined(t, "a", "lan"), r.joined(t, "b", "lan")
	if err := r.Learn(t.Context(), lease(a, "192.0.2.7/24"), lease("nobody", "192.0.2.8/24")); model.KindOf(err) != model.NotFound {
		t.Errorf("error %v", err)
	}
	for n := 1; ; n++ {
		before := r.now.Load()
		kernel := r.kernel.String()
		r.kernel.FailWrite(n)
		err := r.Learn(t.Context(), lease(a, "192.0.2.7/24"), lease(b, "192.0.2.8/24"))
		if !r.kernel.Failed() {
			if r.kernel.FailWrite(0); err != nil || n == 1 {
				t.Fatalf("write %d: %v", n, err)
			}
			break
		}
		var failure *desired.Failure
		if !errors.As(err, &failure) || !strings.HasPrefix(err.Error(), "container ") {
			t.Errorf("write %d failed: %v", n, err)
		}
		if r.now.Load() != before || r.kernel.String() != kernel {
			t.Errorf("write %d failed and left:\n%s", n, r.kernel)
		}
	}
}

// TestHostsNamesConcernTheHostAlone: a new address of the host plans its own rows
// anew, and nobody else's.
func TestHostsNamesConcernTheHostAlone(t *testing.T) {
	r := newRig(t)
	r.must(t, ops.StartSandbox(r.box(t, "a", nil, "bridge")))
	host := r.now.Load().facts.Host
	host.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	r.options.Observer = fixedFacts(host)
	r.compiled = nil
	if err := r.Observe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.compiled) != 1 || r.compiled[0] != 1 || r.Plan().String() != r.full(t) {
		t.Errorf("compiled %v owners; the plan:\n%s", r.compiled, r.Plan())
	}
	checkFresh(t, r)
}
