package nft

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/facts"
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

// Drops reads what port security has dropped, ordered by port and kind, and
// forgets the counts of ports that are gone. It reads only about ports of which
// anything was dropped.
func (b *Backend) Drops(ctx context.Context) ([]facts.PortDrops, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []facts.PortDrops
	var gone []change
	for _, k := range facts.DropKinds {
		err := b.countLocked(ctx, dropSet(k), func(e seenElement) {
			port := strings.TrimRight(e.key, "\x00")
			if !b.members.has(port) {
				gone = append(gone, change{element: element{set: e.set, key: e.key}, delta: noDelta})
				return
			}
			out = append(out, facts.PortDrops{Port: port, Kind: k, Packets: e.packets, Bytes: e.bytes})
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(out, func(x, y facts.PortDrops) int { return cmp.Compare(x.Port, y.Port) })
	for len(gone) > 0 {
		part := gone[:min(chunk, len(gone))]
		gone = gone[len(part):]
		// One that is refused was forgotten by somebody else; the next call sees.
		if _, err := b.conn.commit(ctx, b.messages(part)); err != nil {
			return out, err
		}
	}
	return out, nil
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
		Timeout: milliseconds(timeout), Exprs: with,
	})
}
