// Package nft is the nftables backend: it makes two tables, `inet linkspan` and
// `bridge linkspan`, agree with policy rows, through nfnetlink.
//
// Chains and rules are constant; everything that changes from day to day is an
// element of a set, so that a change costs the same whatever else is there, and
// the ruleset is never listed to change it.
//
// Published ports are elements of maps that lead from the host's address and port
// to the container's (ports.go): one more costs the same beside ten thousand.
//
//	rows --render--> elements --Apply--> one transaction
//	rows --render--> elements --Resync--> compare with what is there --> repair
//
// Ours: the two tables of that name, with everything in them. No other table is
// read or written, and the tables are not flagged as owned, since such tables
// die with their owner's socket.
//
// It decides nothing: what is allowed is said by the rows. Routes, addresses
// and sysctls are others' business.
package nft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/wire"
	"github.com/linkspan/linkspan/internal/kernel/watch"
)

// ErrTableLost is what Apply returns, wrapped, when it found its tables or sets
// gone: it has created them again and written its own deltas, but the elements
// of all other rows are missing until the caller calls Resync with every row.
var ErrTableLost = fmt.Errorf("firewall tables were removed by someone else: %w", desired.ErrLost)

// chunk bounds one transaction: its messages must fit the socket's buffer.
const chunk = 1000

// Options are what a Backend needs to know.
type Options struct {
	// Instance marks the tables as this engine's; tables of another instance
	// are replaced.
	Instance string
	Logger   *slog.Logger // nil discards
	// Off4 and Off6 have the packets of a family left alone. Frames are looked after all
	// the same, whatever they carry.
	Off4, Off6 bool
	// Beside says that another backend decides about packets: the table of family bridge
	// is made as always, that of family inet has only what iptables cannot say.
	Beside bool
	// Held, if not empty, is the name of tables that are made instead, and that nobody else
	// can flush: they keep shut what the others keep shut, for as long as the Backend is
	// open. See heldTables.
	Held string
	// Balance has the table made instead that desired.Balance is an affair of, in the
	// namespace of a network.
	Balance bool
	NetNS   int // descriptor of the network namespace; 0 is the current one
}

// Backend writes policy to one network namespace. Its methods may be called
// concurrently; they take turns.
type Backend struct {
	tables []table
	idx    index
	log    *slog.Logger

	mu      sync.Mutex // guards what follows
	conn    *conn
	shape   shape       // of the skeleton
	members *membership // of the rows written so far
	ready   bool        // the skeleton was seen whole
	sweeper *time.Timer // runs sweep; nil if nothing is to be swept
	closed  bool
}

// New opens a socket in the namespace; it writes nothing. The caller closes the
// Backend.
func New(o Options) (*Backend, error) {
	c, err := dial(o.NetNS)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	shape := shape{instance: o.Instance, off4: o.Off4, off6: o.Off6, beside: o.Beside, held: o.Held, balance: o.Balance}
	tables := shape.tables()
	return &Backend{tables: tables, idx: indexOf(tables), log: o.Logger, conn: c, shape: shape, members: newMembership()}, nil
}

// reshapeLocked makes the skeleton another one.
func (b *Backend) reshapeLocked(s shape) {
	if !s.same(b.shape) {
		b.tables, b.ready = s.tables(), false
		b.idx = indexOf(b.tables)
	}
	b.shape = s
}

// Close releases the socket. The ruleset stays in force.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.sweeper != nil {
		b.sweeper.Stop()
	}
	return b.conn.Close()
}

// Tables and Ports implement watch.Notifier.
func (b *Backend) Tables() []watch.Table {
	return watch.TablesNamed(tableName, unix.NFPROTO_INET, unix.NFPROTO_BRIDGE)
}
func (b *Backend) Ports() []uint32 { return watch.PortsOf(b.conn.Raw()) }

// Apply writes the deltas, which must be policy rows, as one transaction (as
// several where they are more than 1000 elements, in an order of which every
// part is safe). Its cost depends on the deltas alone. Deleting what is gone
// already is no error. A Backend that is new in a namespace where tables exist
// must be given all rows by Resync first.
//
// A row that is malformed or that the kernel refuses is returned as a
// *desired.Failure, joined with others; its transaction then wrote nothing. See
// ErrTableLost for the other special case.
func (b *Backend) Apply(ctx context.Context, deltas []desired.Delta) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, seen := b.shape, b.ready
	b.reshapeLocked(before.follow(deltas))
	changes, failures := b.idx.changesOf(deltas, b.members)
	if len(failures) > 0 {
		b.reshapeLocked(before)
		return errors.Join(failures...)
	}
	err := b.applyLocked(ctx, changes, deltas, seen)
	switch {
	case err != nil && !errors.Is(err, ErrTableLost):
		b.members.forget(deltas)
		b.reshapeLocked(before)
	case portGoes(deltas):
		b.sweepSoonLocked()
	}
	return err
}

// applyLocked writes changes. What is missing counts as lost if it was seen before.
func (b *Backend) applyLocked(ctx context.Context, changes []change, deltas []desired.Delta, seen bool) error {
	lost := false
	if !b.ready {
		gone, err := b.restoreLocked(ctx)
		if err != nil {
			return err
		}
		lost = gone && seen
	}
	for part := range slices.Chunk(changes, chunk) {
		gone, err := b.writeLocked(ctx, part, deltas)
		if lost = lost || gone; err != nil {
			return err
		}
	}
	if lost {
		return fmt.Errorf("apply policy: %w", ErrTableLost)
	}
	return nil
}

// writeLocked writes one transaction. If the kernel refuses it, the reason is
// either that the sets are gone, or that elements to delete are, or the
// elements themselves; the first two are put right and the rest sent again.
func (b *Backend) writeLocked(ctx context.Context, part []change, deltas []desired.Delta) (lost bool, err error) {
	for range 3 {
		refused, err := b.conn.Commit(ctx, b.messages(part))
		if err != nil {
			b.ready = false // the outcome is unknown
			return lost, fmt.Errorf("apply policy: %w", err)
		}
		if len(refused) == 0 {
			return lost, nil
		}
		gone, err := b.restoreLocked(ctx)
		if err != nil {
			return lost, err
		}
		if lost = lost || gone; gone {
			continue
		}
		if part, err = b.withoutVanished(part, refused, deltas); err != nil {
			return lost, err
		}
	}
	return lost, errors.New("apply policy: the tables change faster than they can be repaired")
}

// withoutVanished drops from part the deletions that were refused because there
// is nothing to delete. All other refusals are failures.
func (b *Backend) withoutVanished(part []change, refused []wire.Refusal, deltas []desired.Delta) ([]change, error) {
	var failures []error
	vanished := map[int]bool{}
	for _, r := range refused {
		c := part[r.Index]
		if !c.add && errors.Is(r.Err, unix.ENOENT) {
			vanished[r.Index] = true
			continue
		}
		d := deltas[c.delta]
		err := fmt.Errorf("%s: %w", b.idx.text(c.element), r.Err)
		failures = append(failures, &desired.Failure{Owner: d.Owner, Key: d.Key(), Err: err})
	}
	var rest []change
	for i, c := range part {
		if !vanished[i] {
			rest = append(rest, c)
		}
	}
	return rest, errors.Join(failures...)
}

// restoreLocked makes tables, sets, chains and rules right, and says whether
// elements were lost with any of them.
func (b *Backend) restoreLocked(ctx context.Context) (lost bool, err error) {
	r := repair{idx: b.idx}
	for _, t := range b.tables {
		seen, err := b.conn.readFrame(ctx, t)
		if err != nil {
			return false, err
		}
		if err := r.skeleton(t, seen); err != nil {
			return false, err
		}
	}
	if err := b.sendLocked(ctx, r.frame); err != nil {
		return false, fmt.Errorf("restore firewall tables: %w", err)
	}
	b.ready = true
	return r.lost, nil
}

// Resync compares everything in our tables with what rows want, and repairs
// what differs by the smallest change. A second call writes nothing. Rows that
// cannot be rendered are returned as errors and the others written all the
// same.
func (b *Backend) Resync(ctx context.Context, rows []desired.Row) (desired.Report, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reshapeLocked(b.shape.of(rows))
	want, members, bad := wanted(rows)
	r, err := b.compareLocked(ctx, want)
	if err != nil {
		return desired.Report{}, errors.Join(err, bad)
	}
	b.idx.order(r.changes)
	msgs := append(r.frame, b.messages(r.changes)...)
	report := desired.Report{Drift: r.drift, Writes: len(msgs), Torn: r.lost || r.torn}
	if err := b.sendLocked(ctx, msgs); err != nil {
		b.ready = false
		return report, errors.Join(fmt.Errorf("resync policy: %w", err), bad)
	}
	b.ready, b.members = true, members
	b.sweepSoonLocked()
	return report, bad
}

// Clear removes the tables, and says how many of them were there: the rows are to hold
// by other means, or not at all. Nothing is written where there are none.
func (b *Backend) Clear(ctx context.Context) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready = false
	var gone []wire.Message
	for _, t := range b.tables {
		if seen, err := b.conn.readFrame(ctx, t); err != nil {
			return 0, err
		} else if seen != nil {
			gone = append(gone, t.delTable())
		}
	}
	return len(gone), b.sendLocked(ctx, gone)
}

// Check compares as Resync does and writes nothing.
func (b *Backend) Check(ctx context.Context, rows []desired.Row) (desired.Report, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reshapeLocked(b.shape.of(rows))
	want, _, bad := wanted(rows)
	r, err := b.compareLocked(ctx, want)
	if err != nil {
		return desired.Report{}, errors.Join(err, bad)
	}
	return desired.Report{Drift: r.drift, Torn: r.lost || r.torn}, bad
}

// compareLocked returns what is wrong.
func (b *Backend) compareLocked(ctx context.Context, want map[string]map[element]bool) (repair, error) {
	r := repair{idx: b.idx}
	for _, t := range b.tables {
		seen, err := b.conn.read(ctx, t)
		if err != nil {
			return r, err
		}
		if err := r.skeleton(t, seen); err != nil {
			return r, err
		}
		for _, s := range t.sets {
			if t.gone || s.learned {
				continue
			}
			var have map[element]bool
			if seen != nil && seen.sets[s.name] != nil {
				have = seen.sets[s.name].elements
			}
			r.elements(s.name, want[s.name], have)
		}
	}
	return r, nil
}

// wanted is what rows want, by set, and who belongs where.
func wanted(rows []desired.Row) (map[string]map[element]bool, *membership, error) {
	members := newMembership()
	want := map[string]map[element]bool{}
	add := func(e element) {
		if want[e.set] == nil {
			want[e.set] = map[element]bool{}
		}
		want[e.set][e] = true
	}
	var bad []error
	for _, row := range rows {
		elements, err := render(row)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		members.put(row, true)
		for _, e := range elements {
			add(e)
		}
	}
	for e := range members.elements() {
		add(e)
	}
	return want, members, errors.Join(bad...)
}

// sendLocked writes messages in order, in as many transactions as they need.
func (b *Backend) sendLocked(ctx context.Context, msgs []wire.Message) error {
	for part := range slices.Chunk(msgs, chunk) {
		refused, err := b.conn.Commit(ctx, part)
		if err != nil {
			return err
		}
		if len(refused) > 0 {
			first := part[refused[0].Index]
			return fmt.Errorf("%d of %d messages refused, the first: %s: %w", len(refused), len(part), first.What, refused[0].Err)
		}
	}
	return nil
}

func (b *Backend) messages(changes []change) (out []wire.Message) {
	for _, c := range changes {
		out = append(out, b.idx.message(c))
	}
	return out
}
