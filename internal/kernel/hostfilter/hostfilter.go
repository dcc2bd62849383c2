// Package hostfilter keeps two jumps in the chain FORWARD of the host's iptables
// tables, `ip filter` and `ip6 filter`: to DOCKER-USER, whose rules are the
// administrator's, and to LINKSPAN-FORWARD, which accepts what goes in or out of
// our bridges.
//
// A drop in any base chain is final and an accept is not: the tables of package
// nft have dropped what must not pass, and rules in DOCKER-USER may drop more. But
// a FORWARD policy of DROP, which ufw, libvirt and Docker itself set, would drop
// all the rest; an accept here ends the walk through that table before its policy
// is asked.
//
//	FORWARD ──1──▶ DOCKER-USER        made once if missing; never flushed, never removed
//	        ──2──▶ LINKSPAN-FORWARD   -i BRIDGE -j ACCEPT, -o BRIDGE -j ACCEPT
//	        ──…──▶ what others put there, and the policy
//
// Where the host's iptables is iptables-nft, or a table of that name has a chain
// FORWARD, that is written by nfnetlink in the form that iptables-nft reads; where
// iptables-legacy is in use, by its commands, and never while somebody waits for
// a network. A host with neither is left alone, until it has one.
//
// Ours: the two jumps, and the chain LINKSPAN-FORWARD. The policy of a chain,
// rules of others and what is in DOCKER-USER are never touched.
package hostfilter

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/watch"
)

// The chains, by the names that administrators know.
const (
	UserChain    = "DOCKER-USER"
	OwnChain     = "LINKSPAN-FORWARD"
	forwardChain = "FORWARD"
	filterTable  = "filter"
)

// Options are what a Firewall needs to know.
type Options struct {
	IPv4, IPv6 bool         // the families whose tables may be written
	Logger     *slog.Logger // nil discards
	// Placed says that the jumps have been put first before, by somebody else: what stands
	// before them by now stays there.
	Placed bool
	NetNS  int // descriptor of the network namespace; 0 is the current one
	// Path are the folders in which iptables is looked for; those of PATH, and where
	// distributions have it, if nil.
	Path []string
	// Enter runs a function in that namespace, for commands; nil calls it.
	Enter func(func() error) error
}

// Firewall makes policies so by another Firewall, and keeps the host's FORWARD
// chains from undoing that.
type Firewall struct {
	kernel.Firewall
	log      *slog.Logger
	families []*family

	mu      sync.Mutex // guards what follows
	bridges desired.Bridges

	beside sync.WaitGroup // commands that run while nobody waits for them
	ending context.Context
	end    context.CancelFunc
}

// New wraps a firewall. It writes nothing. The caller closes the Firewall.
func New(inner kernel.Firewall, o Options) *Firewall {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Firewall{Firewall: inner, log: o.Logger, families: familiesOf(o), bridges: map[string]bool{}}
	f.ending, f.end = context.WithCancel(context.Background())
	return f
}

// Close ends commands that still run. What is in the kernel stays: containers go
// on.
func (f *Firewall) Close() error {
	f.end()
	f.beside.Wait()
	return nil
}

// Tables implements watch.Notifier: those of the wrapped firewall, and the chains with
// our jumps and rules.
func (f *Firewall) Tables() []watch.Table {
	var out []watch.Table
	if n, ok := f.Firewall.(watch.Notifier); ok {
		out = n.Tables()
	}
	for _, y := range f.families {
		for _, chain := range []string{forwardChain, OwnChain} {
			out = append(out, watch.Table{Family: y.native.family, Name: filterTable, Chain: chain})
		}
	}
	return out
}

// Ports implements watch.Notifier.
func (f *Firewall) Ports() []uint32 {
	if n, ok := f.Firewall.(watch.Notifier); ok {
		return n.Ports()
	}
	return nil
}

// Apply has the policies made so, and then lets the traffic of new bridges pass
// the host's filter. That the host's filter cannot be written is no failure of a
// row: it is logged, and tried again by Resync.
func (f *Firewall) Apply(ctx context.Context, deltas []desired.Delta) error {
	err := f.Firewall.Apply(ctx, deltas)
	f.mu.Lock()
	defer f.mu.Unlock()
	added, removed := f.bridges.Follow(deltas)
	if len(added)+len(removed) == 0 {
		return err
	}
	all := f.sorted()
	for _, y := range f.families {
		f.note(y, y.native.change(ctx, added, removed, all))
		if y.legacy.active() && y.legacy.want.Swap(&all) == nil {
			f.beside.Go(func() { f.byCommand(y) })
		}
	}
	return err
}

// byCommand makes the chains of iptables-legacy so, outside any request.
func (f *Firewall) byCommand(y *family) {
	err := y.legacy.catchUp(f.ending)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(y, err)
}

// Resync compares the policies, and the chains, with what is wanted, and repairs
// what differs.
func (f *Firewall) Resync(ctx context.Context, rows []desired.Row) (desired.Report, error) {
	report, err := f.Firewall.Resync(ctx, rows)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bridges = bridgesOf(rows)
	found := f.compare(ctx, f.sorted(), false)
	report.Drift, report.Writes, report.Torn = append(report.Drift, found.Drift...), report.Writes+found.Writes, report.Torn || found.Torn
	return report, err
}

// Check compares as Resync does and writes nothing.
func (f *Firewall) Check(ctx context.Context, rows []desired.Row) (desired.Report, error) {
	report, err := f.Firewall.Check(ctx, rows)
	f.mu.Lock()
	defer f.mu.Unlock()
	found := f.compare(ctx, slices.Sorted(maps.Keys(bridgesOf(rows))), true)
	report.Drift, report.Torn = append(report.Drift, found.Drift...), report.Torn || found.Torn
	return report, err
}

// compare looks which of the host's tables are in use, and at the chains in these.
func (f *Firewall) compare(ctx context.Context, bridges []string, dry bool) (sum desired.Report) {
	for _, y := range f.families {
		failed := []error{y.look(ctx)}
		for _, s := range []side{y.native, y.legacy} {
			report, err := s.ensure(ctx, bridges, dry)
			sum.Drift, sum.Writes, sum.Torn = append(sum.Drift, report.Drift...), sum.Writes+report.Writes, sum.Torn || report.Torn
			failed = append(failed, err)
		}
		f.note(y, errors.Join(failed...))
	}
	return sum
}

// side is one of the two kernels' ways to have an iptables table.
type side interface {
	// ensure compares the chains with what is wanted and, unless dry, repairs them. It
	// does nothing where this side is not in use.
	ensure(ctx context.Context, bridges []string, dry bool) (desired.Report, error)
}

// note logs why the host's filter could not be made so, once for each reason.
func (f *Firewall) note(y *family, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != y.said {
		f.log.Warn("the host's iptables rules could not be changed: its FORWARD policy may cut containers off, and rules in "+UserChain+" may not hold",
			"op", "firewall.host", "err", err)
	}
	y.said = text
}

func (f *Firewall) sorted() []string { return slices.Sorted(maps.Keys(f.bridges)) }

// bridgesOf are the bridges of all networks. Those without a way out are among them:
// br_netfilter shows this chain what stays within a bridge, too.
func bridgesOf(rows []desired.Row) map[string]bool {
	out := map[string]bool{}
	for _, row := range rows {
		if p, ok := row.(desired.BridgePolicy); ok {
			out[p.Bridge] = true
		}
	}
	return out
}
