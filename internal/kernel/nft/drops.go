package nft

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/nft/wire"
)

// What port security drops is counted by port and kind, in sets to which the
// kernel adds a port when it drops the first frame of it: a port that behaves
// costs nothing, and to read them is to see only those that do not.

// maxLearned bounds the sets that the kernel fills: who sends much is in them
// once, so that it bounds ports, not frames.
const maxLearned = 65535

func dropSet(k facts.DropKind) string { return "drops_" + string(k) }

func dropChain(k facts.DropKind) string { return "drop_" + string(k) }

func dropSets() (out []set) {
	for _, k := range facts.DropKinds {
		out = append(out, set{name: dropSet(k), comment: "frames dropped, by port", key: []datatype{typeIfname}, learned: true})
	}
	return out
}

// countedDrop is the comment of the rules that count.
const countedDrop = "counted by port"

func dropChains() (out []chain) {
	for _, k := range facts.DropKinds {
		out = append(out, chain{dropChain(k), base{}, []rule{
			learn(countedDrop, dropSet(k), 0, []part{iifPart()}, &expr.Counter{}),
			drop("port security"),
		}})
	}
	return out
}

// refuse drops a frame, and counts it for its port.
func refuse(k facts.DropKind, why string, when ...match) rule {
	return jump(why, dropChain(k), when...)
}

// Drops reads what port security has dropped, ordered by port and kind. It reads
// only about ports of which anything was dropped.
func (b *Backend) Drops(ctx context.Context) ([]facts.PortDrops, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []facts.PortDrops
	for _, k := range facts.DropKinds {
		err := b.countLocked(ctx, dropSet(k), func(e seenElement) {
			if port := portOf(e.key); b.members.has(port) {
				out = append(out, facts.PortDrops{Port: port, Kind: k, Packets: e.packets, Bytes: e.bytes})
			}
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(out, func(x, y facts.PortDrops) int { return cmp.Compare(x.Port, y.Port) })
	return out, nil
}

// portOf is the port that a learned element is about; its name stands first.
func portOf(key string) string {
	return strings.TrimRight(key[:min(len(key), unix.IFNAMSIZ)], "\x00")
}

// sweepAfter is how long what was learned of a port outlives it: ports that go
// together are swept together, and nobody who removes one waits.
const sweepAfter = time.Second

// sweepSoonLocked has what was learned of ports that are gone forgotten before long.
func (b *Backend) sweepSoonLocked() {
	if b.sweeper == nil && !b.closed {
		b.sweeper = time.AfterFunc(sweepAfter, func() {
			ctx, cancel := context.WithTimeout(context.Background(), wire.AnswerTimeout)
			defer cancel()
			if err := b.sweep(ctx); err != nil {
				b.log.Debug("counters of ports that are gone stay", "op", "port.drops", "err", err)
			}
		})
	}
}

// sweep forgets what was learned of ports that are gone.
func (b *Backend) sweep(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweeper = nil
	if b.closed || !b.ready {
		return nil
	}
	var gone []change
	for _, t := range b.tables {
		for _, s := range t.sets {
			// Those of the other table are not about single ports, and go by themselves
			// as long as there are any.
			about := t.family == unix.NFPROTO_BRIDGE
			if !s.learned || !about && len(b.members.names) > 0 {
				continue
			}
			err := b.countLocked(ctx, s.name, func(e seenElement) {
				if !about || !b.members.has(portOf(e.key)) {
					gone = append(gone, change{element: element{set: s.name, key: e.key}, delta: noDelta})
				}
			})
			if err != nil {
				return err
			}
		}
	}
	for len(gone) > 0 {
		part := gone[:min(chunk, len(gone))]
		gone = gone[len(part):]
		refused, err := b.conn.Commit(ctx, b.messages(part))
		if err != nil {
			return err
		}
		if len(refused) > 0 { // some went by themselves meanwhile
			b.sweepSoonLocked()
		}
	}
	return nil
}

func portGoes(deltas []desired.Delta) bool {
	return slices.ContainsFunc(deltas, func(d desired.Delta) bool {
		_, secured := d.Old.(desired.PortSecurity)
		return secured && d.New == nil
	})
}

// learn is a rule without a verdict that puts what a packet has into a set: as
// long as timeout says, in milliseconds, or for ever with 0. with, if any, counts
// or limits by element; over a limit the packet goes on in the rule.
func learn(why, set string, timeout uint64, key []part, with ...expr.Any) rule {
	return rule{comment: why, exprs: learned(set, timeout, key, with...)}
}

func learned(set string, timeout uint64, key []part, with ...expr.Any) match {
	return append(joined(key), &expr.Dynset{
		SrcRegKey: register(0), SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE,
		Timeout: time.Duration(timeout) * time.Millisecond, Exprs: with,
	})
}
