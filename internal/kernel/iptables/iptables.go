// Package iptables is the iptables backend of the firewall: it makes the chains of
// iptables(8) and ip6tables(8) agree with policy rows, in Docker's chains, which
// administrators know, and some of its own for what Docker's do not say.
//
//	rows --render--> rules --Apply--> one iptables-restore --noflush for each family
//	rows --render--> rules --Resync--> compare with iptables-save --> repair
//
// A packet has the same fate as with the nftables backend. What frames may do on a bridge
// (port security, icc=false) stays with that, and so does the little that iptables has no
// words for: package nft, Options.Beside.
//
// Ours: Docker's chains but for DOCKER-USER, chains called LINKSPAN-…, and in the kernel's
// own chains what jumps to them or bears the comment "linkspan". DOCKER-USER is made if it
// is not there; what is in it is the administrator's. Everything else is others', and the
// policies of the kernel's chains are theirs too.
package iptables

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
)

// ErrChainsLost is what Apply returns, wrapped, when it found chains or jumps of ours gone: it
// has written all rules again, and what else was lost with them only a resync shows.
var ErrChainsLost = fmt.Errorf("firewall chains were removed by someone else: %w", desired.ErrLost)

// Beside is who has what iptables cannot say: the nftables backend with Options.Beside.
type Beside interface {
	Apply(ctx context.Context, deltas []desired.Delta) error
	Resync(ctx context.Context, want []desired.Row) (desired.Report, error)
	Check(ctx context.Context, want []desired.Row) (desired.Report, error)
	Traffic(ctx context.Context) ([]facts.PortTraffic, error)
	Drops(ctx context.Context) ([]facts.PortDrops, error)
}

// Options are what a Backend needs to know.
type Options struct {
	Logger *slog.Logger // nil discards
	// Beside may be nil where the kernel has no nf_tables: there is no port security then.
	Beside Beside
	// Off4 and Off6 have a family left alone.
	Off4, Off6 bool
	// Enter calls a function in the network namespace to write to; nil just calls it.
	Enter func(func() error) error

	// Of tests: which iptables, and where; empty: the one that iptables is on this host.
	variant xtables.Variant
	folders []string
}

// Backend writes policy to one network namespace. Its methods may be called
// concurrently; they take turns.
type Backend struct {
	log    *slog.Logger
	beside Beside
	tools  []*tool // of one family or both
	fixed  map[int][]entry
	recent *processes // commands

	mu    sync.Mutex // guards what follows
	wants wants
	stand standing
	// poller looks after the tables of iptables-legacy.
	poller *poller
	known  bool // what is in the kernel is as wants says, as far as we know
}

// New finds the commands; it writes nothing. Without ip6tables IPv4 goes on, and it is
// said. Without iptables it fails with xtables.ErrNoCommand, wrapped. The caller closes the Backend.
func New(ctx context.Context, o Options) (*Backend, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Enter == nil {
		o.Enter = func(f func() error) error { return f() }
	}
	recent := &processes{}
	commands := xtables.New(xtables.Options{Folders: o.folders, Enter: o.Enter, Started: recent.add})
	b := &Backend{recent: recent, log: o.Logger, beside: o.Beside, fixed: map[int][]entry{}, wants: wants{}}
	for _, family := range families() {
		if family == four && o.Off4 || family == six && o.Off6 {
			continue
		}
		t, err := toolOf(ctx, commands, family, o.variant)
		if err != nil && family == six && len(b.tools) > 0 {
			b.log.Warn("no ip6tables: IPv6 is without a firewall", "op", "firewall.open", "err", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		b.tools, b.fixed[family] = append(b.tools, t), fixed(family)
	}
	for _, entries := range b.fixed {
		for _, e := range entries {
			b.wants.put(e, "", true)
		}
	}
	err := o.Enter(func() (err error) {
		b.poller, err = openPoller(b.tools)
		return err
	})
	return b, err
}

// Variant is which iptables this host has.
func (b *Backend) Variant() xtables.Variant { return b.tools[0].Variant }

// Apply writes the deltas, which must be policy rows: for each family that they change
// one iptables-restore, of the rules that change alone. A row that is malformed or that
// iptables refuses is returned as a *desired.Failure. See ErrChainsLost for the other
// special case.
func (b *Backend) Apply(ctx context.Context, deltas []desired.Delta) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.beside != nil {
		if err := b.beside.Apply(ctx, deltas); err != nil && !errors.Is(err, desired.ErrLost) {
			return err
		} else if err != nil {
			return errors.Join(err, b.applyLocked(ctx, deltas))
		}
	}
	return b.applyLocked(ctx, deltas)
}

func (b *Backend) applyLocked(ctx context.Context, deltas []desired.Delta) error {
	changes, failures := b.wants.follow(deltas)
	if len(failures) > 0 {
		return errors.Join(failures...)
	}
	if b.known {
		lost := b.poller.changed()
		err := b.writeLocked(ctx, changes)
		if err == nil {
			if !lost { // else Poll is still to say so
				b.poller.note()
			}
			return nil
		}
		b.log.Debug("rules are not as expected", "op", "firewall.apply", "err", err)
		b.known = false
	}
	r, err := b.repairLocked(ctx, causesOf(changes))
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		b.wants.forget(deltas)
		return b.failureOf(refused, deltas)
	case err != nil:
		b.wants.forget(deltas)
		return fmt.Errorf("apply policy: %w", err)
	case r.lost:
		return fmt.Errorf("apply policy: %w", ErrChainsLost)
	}
	return nil
}

// failureOf traces a refusal to the row that asked for it.
func (b *Backend) failureOf(r *refusal, deltas []desired.Delta) error {
	if r.delta == noDelta {
		return fmt.Errorf("apply policy: %w", r)
	}
	d := deltas[r.delta]
	return &desired.Failure{Owner: d.Owner, Key: d.Key(), Err: r}
}

func causesOf(changes []change) map[entry]int {
	out := map[entry]int{}
	for _, c := range changes {
		if c.add {
			out[c.entry] = c.delta
		}
	}
	return out
}

// writeLocked writes changes to what is known to be there.
func (b *Backend) writeLocked(ctx context.Context, changes []change) error {
	scripts := make([]script, len(b.tools))
	for i, t := range b.tools {
		var mine []change
		for _, c := range changes {
			if c.entry.family == t.family {
				mine = append(mine, c)
			}
		}
		scripts[i] = script{}
		scripts[i].changes(mine, b.stand)
	}
	return b.runLocked(ctx, scripts)
}

// runLocked runs a script for each tool, side by side: the kernel has them wait, not work.
func (b *Backend) runLocked(ctx context.Context, scripts []script) error {
	return b.eachTool(func(i int, t *tool) error {
		if scripts[i].empty() {
			return nil
		}
		return t.write(ctx, scripts[i])
	})
}

func (b *Backend) eachTool(do func(i int, t *tool) error) error {
	errs := make([]error, len(b.tools))
	var all sync.WaitGroup
	for i, t := range b.tools {
		all.Go(func() { errs[i] = do(i, t) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// repaired is what a repair of all families found.
type repaired struct {
	drift  []string
	writes int
	lost   bool
	torn   bool
}

// compareLocked finds what differs, by tool.
func (b *Backend) compareLocked(ctx context.Context, want wants, causes map[entry]int) ([]*repair, error) {
	out := make([]*repair, len(b.tools))
	places := want.byPlace()
	err := b.eachTool(func(i int, t *tool) error {
		seen, err := t.read(ctx)
		if err == nil {
			out[i] = compare(t.family, places, causes, seen)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// repairLocked makes everything as wanted, whatever it was.
func (b *Backend) repairLocked(ctx context.Context, causes map[entry]int) (out repaired, err error) {
	all, err := b.compareLocked(ctx, b.wants, causes)
	if err != nil {
		return out, err
	}
	b.stand = standing{}
	var scripts []script
	fixed := b.fixedSet()
	for _, r := range all {
		out.torn = out.torn || r.torn(fixed)
		out.drift, out.lost = append(out.drift, r.drift...), out.lost || r.lost
		maps.Copy(b.stand, r.stand)
		out.writes += r.script.len()
		scripts = append(scripts, r.script)
	}
	if err := b.runLocked(ctx, scripts); err != nil {
		b.known = false
		return out, err
	}
	b.known = true
	b.poller.note()
	return out, nil
}

// Resync compares everything of ours with what rows want, and repairs what differs by the
// smallest change. A second call writes nothing. Rows that cannot be rendered are
// returned as errors and the others written all the same.
func (b *Backend) Resync(ctx context.Context, rows []desired.Row) (desired.Report, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	want, bad := wantsOf(b.allFixed(), rows)
	b.wants, b.known = want, false
	r, err := b.repairLocked(ctx, nil)
	report := desired.Report{Drift: r.drift, Writes: r.writes, Torn: r.torn}
	if err != nil {
		err = fmt.Errorf("resync policy: %w", err)
	}
	if b.beside != nil { // afterwards: it may have been the firewall until now
		beside, besideErr := b.beside.Resync(ctx, rows)
		report.Drift, report.Writes = append(beside.Drift, report.Drift...), beside.Writes+report.Writes
		report.Torn = report.Torn || beside.Torn
		err = errors.Join(besideErr, err)
	}
	if r.writes > 0 {
		b.log.Debug("firewall repaired", "op", "resync", "drift", len(r.drift), "writes", r.writes)
	}
	return report, errors.Join(err, errors.Join(bad...))
}

// Check compares as Resync does and writes nothing.
func (b *Backend) Check(ctx context.Context, rows []desired.Row) (desired.Report, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var report desired.Report
	var besideErr error
	if b.beside != nil {
		report, besideErr = b.beside.Check(ctx, rows)
	}
	want, bad := wantsOf(b.allFixed(), rows)
	all, err := b.compareLocked(ctx, want, nil)
	fixed := b.fixedSet()
	for _, r := range all {
		report.Drift, report.Torn = append(report.Drift, r.drift...), report.Torn || r.torn(fixed)
	}
	return report, errors.Join(besideErr, err, errors.Join(bad...))
}

func (b *Backend) allFixed() (out []entry) {
	for _, entries := range b.fixed {
		out = append(out, entries...)
	}
	return out
}

func (b *Backend) fixedSet() map[entry]bool {
	out := map[entry]bool{}
	for _, e := range b.allFixed() {
		out[e] = true
	}
	return out
}

// Drops reads the counters of port security.
func (b *Backend) Drops(ctx context.Context) ([]facts.PortDrops, error) {
	if b.beside == nil {
		return nil, nil
	}
	return b.beside.Drops(ctx)
}
