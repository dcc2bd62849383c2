package nft

import (
	"context"
	"net/netip"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
)

// backend is this one, for the trials that all backends share.
var backend = firewalltest.Backend{
	Open:  func(t testing.TB, host *namespaces.Namespace) kernel.Firewall { return newBackend(t, host) },
	Model: func(t testing.TB, rows []desired.Row) firewalltest.Model { return newTracer(t, rows) },
}

func newBackend(t testing.TB, n *namespaces.Namespace) *Backend {
	t.Helper()
	b, err := New(Options{Instance: "test", NetNS: n.FD()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func resync(t testing.TB, b kernel.Firewall, rows ...desired.Row) desired.Report {
	t.Helper()
	r, err := b.Resync(context.Background(), rows)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func apply(t testing.TB, b kernel.Firewall, deltas ...desired.Delta) {
	t.Helper()
	if err := b.Apply(context.Background(), deltas); err != nil {
		t.Fatal(err)
	}
}

func added(rows ...desired.Row) []desired.Delta {
	var out []desired.Delta
	for _, r := range rows {
		out = append(out, desired.Delta{Owner: "test/" + desired.Owner(r.Key().Name), New: r})
	}
	return out
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}
