// Package firewalltest holds the tests that every firewall backend must pass: packet
// trials. Cases say who sends what to whom, under which settings, and whether it
// arrives; frames are sent for real between network namespaces, and a model of the
// kernel says of each what the backend's rules make of it.
//
// A backend plugs in with a Backend, in its own tests:
//
//	var backend = firewalltest.Backend{Open: open, Model: model}
//
//	func TestIsolation(t *testing.T) { firewalltest.Isolation(t, backend) }
//
// and so on for every exported function that takes a Backend, here and in the folders below. Open makes a
// kernel.Firewall in the test's namespace; what frames may do on a bridge (port security,
// icc=false) is part of it. Model reads the rules that rows are rendered to, in whatever
// language, and says what becomes of one packet at one hook (Hook): Run gets a Hop, which
// has the frame and what the kernel knows besides (interfaces, groups, state, routes), and
// returns a Verdict. What lies between the hooks is this package's part (trace.go, replay.go).
//
// published/ has the tests with real stacks, and border/ those with forged frames; frames/
// and namespaces/ are tools. None of them must ever be imported outside tests.
package firewalltest

import (
	"context"
	"net/netip"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
)

// Backend is a firewall that is tried.
type Backend struct {
	// Open makes the firewall of a namespace. It is closed when the test ends.
	Open func(t testing.TB, host *namespaces.Namespace) kernel.Firewall
	// Model returns what reads the rules that rows are rendered to.
	Model func(t testing.TB, rows []desired.Row) Model
}

// Resync opens the backend in a namespace and gives it rows.
func (b Backend) Resync(t testing.TB, host *namespaces.Namespace, rows ...desired.Row) kernel.Firewall {
	t.Helper()
	f := b.Open(t, host)
	if _, err := f.Resync(context.Background(), rows); err != nil {
		t.Fatal(err)
	}
	return f
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}
