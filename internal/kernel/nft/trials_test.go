package nft

import (
	"testing"

	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/border"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/published"
)

// The trials that every backend must pass are in package firewalltest.

func TestIsolation(t *testing.T)                 { firewalltest.Isolation(t, backend) }
func TestModelAgrees(t *testing.T)               { firewalltest.ModelAgrees(t, backend) }
func TestBorder(t *testing.T)                    { border.Frames(t, backend) }
func TestBorderOfOldPorts(t *testing.T)          { border.OldPorts(t, backend) }
func TestBridgeLearnsNothingForged(t *testing.T) { border.LearnsNothingForged(t, backend) }
func TestWaysIn(t *testing.T)                    { published.WaysIn(t, backend) }
func TestLocalhostServiceIsClosed(t *testing.T)  { firewalltest.LocalhostServiceIsClosed(t, backend) }
func TestLocalhostStaysClosedWithoutRules(t *testing.T) {
	firewalltest.LocalhostStaysClosedWithoutRules(t, backend)
}
func TestInternalStaysClosedWithoutRules(t *testing.T) {
	firewalltest.InternalStaysClosedWithoutRules(t, backend)
}
func TestTraffic(t *testing.T)           { published.Traffic(t, backend) }
func TestTrafficStartsAnew(t *testing.T) { published.TrafficStartsAnew(t, backend) }
func TestSCTP(t *testing.T)              { published.SCTP(t, backend) }
func TestCasesByModel(t *testing.T)      { firewalltest.CasesByModel(t, backend) }
func TestCasesForReal(t *testing.T)      { firewalltest.CasesForReal(t, backend) }

// held is what stands in for the tables while they are gone, together with them and alone.
var held = firewalltest.Backend{Open: func(t testing.TB, host *namespaces.Namespace) kernel.Firewall {
	b, err := New(Options{Held: "linkspan-hold-1", NetNS: host.FD()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}}

func TestClosedWithoutRules(t *testing.T)   { firewalltest.ClosedWithoutRules(t, held) }
func TestCasesForRealWithHeld(t *testing.T) { firewalltest.CasesForReal(t, backend.With(held)) }
func TestIsolationWithHeld(t *testing.T)    { firewalltest.Isolation(t, backend.With(held)) }
func TestWaysInWithHeld(t *testing.T)       { published.WaysIn(t, backend.With(held)) }
