// Package unmanaged is the firewall of a host whose administrator wants no rule of ours
// (--iptables=false and --ip6tables=false).
package unmanaged

import (
	"context"
	"fmt"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
)

// Firewall is a kernel.Firewall that writes no rule; what an engine with rules has left goes
// at the first Resync.
type Firewall struct {
	// Clear removes what a firewall of ours has left, and says how much there was.
	Clear func(context.Context) (int, error)
}

// Apply implements kernel.Firewall.
func (Firewall) Apply(context.Context, []desired.Delta) error { return nil }

// Resync implements kernel.Firewall.
func (u Firewall) Resync(ctx context.Context, _ []desired.Row) (desired.Report, error) {
	n, err := u.Clear(ctx)
	if n == 0 || err != nil {
		return desired.Report{}, err
	}
	return desired.Report{Drift: []string{fmt.Sprintf("left over: %d tables of a firewall that is off", n)}, Writes: n}, nil
}

// Check implements kernel.Firewall. What is left over is gone since the first Resync.
func (Firewall) Check(context.Context, []desired.Row) (desired.Report, error) {
	return desired.Report{}, nil
}

// Traffic implements kernel.Firewall: nobody counts.
func (Firewall) Traffic(context.Context) ([]facts.PortTraffic, error) { return nil, nil }

// Drops implements kernel.Firewall: nothing is dropped.
func (Firewall) Drops(context.Context) ([]facts.PortDrops, error) { return nil, nil }
