package kernel

import (
	"context"
	"fmt"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
)

// Unmanaged is the Firewall of a host whose administrator wants no rule of ours
// (--iptables=false and --ip6tables=false): it writes none, and what an engine with
// rules has left goes at the first Resync.
type Unmanaged struct {
	// Clear removes what a firewall of ours has left, and says how much there was.
	Clear func(context.Context) (int, error)
}

// Apply implements Firewall.
func (Unmanaged) Apply(context.Context, []desired.Delta) error { return nil }

// Resync implements Firewall.
func (u Unmanaged) Resync(ctx context.Context, _ []desired.Row) (desired.Report, error) {
	n, err := u.Clear(ctx)
	if n == 0 || err != nil {
		return desired.Report{}, err
	}
	return desired.Report{Drift: []string{fmt.Sprintf("left over: %d tables of a firewall that is off", n)}, Writes: n}, nil
}

// Check implements Firewall. What is left over is gone since the first Resync.
func (Unmanaged) Check(context.Context, []desired.Row) (desired.Report, error) {
	return desired.Report{}, nil
}

// Traffic implements Firewall: nobody counts.
func (Unmanaged) Traffic(context.Context) ([]facts.PortTraffic, error) { return nil, nil }

// Drops implements Firewall: nothing is dropped.
func (Unmanaged) Drops(context.Context) ([]facts.PortDrops, error) { return nil, nil }
