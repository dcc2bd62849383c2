package hostfilter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
)

const (
	// answerTimeout bounds what is asked of the kernel where the caller's context
	// has no deadline of its own.
	answerTimeout = 30 * time.Second
	// socketBuffer is asked for in both directions, in bytes: the rules of some
	// thousand bridges are one transaction.
	socketBuffer = 4 << 20
)

// native is a filter table of nf_tables, as iptables-nft has it.
type native struct {
	name   string // "ip filter"
	family byte
	netns  int

	wanted bool // iptables-nft is installed: the table is made if there is none
	active bool // the chains are there
	placed bool // the jumps were first once
}

// ensure implements side.
func (n *native) ensure(ctx context.Context, bridges []string, dry bool) (desired.Report, error) {
	have, err := n.read(ctx)
	if err != nil {
		return desired.Report{}, fmt.Errorf("read table %s: %w", n.name, err)
	}
	n.active = have.forward || n.wanted
	if !n.active {
		return desired.Report{}, nil
	}
	r := compare("table "+n.name, have, bridges, !n.placed)
	report := desired.Report{Drift: r.drift, Torn: r.torn}
	if dry {
		return report, nil
	}
	if report.Writes, err = n.write(ctx, have, r, bridges); err != nil {
		n.active = false
		return report, fmt.Errorf("write table %s: %w", n.name, err)
	}
	n.placed = true
	return report, nil
}

// change adds the rules of some bridges and removes those of others. all are the
// bridges that there are then.
func (n *native) change(ctx context.Context, added, removed, all []string) error {
	if !n.active {
		return nil
	}
	err := n.changeRules(ctx, added, removed)
	if errors.Is(err, unix.ENOENT) { // somebody has removed more than rules
		_, err = n.ensure(ctx, all, false)
	}
	return err
}

func (n *native) changeRules(ctx context.Context, added, removed []string) error {
	w := n.batch(ctx)
	if len(removed) > 0 {
		have, err := n.rules(ctx, OwnChain)
		if err != nil {
			return fmt.Errorf("read table %s: %w", n.name, err)
		}
		for _, r := range have {
			if slices.Contains(removed, r.in) || slices.Contains(removed, r.out) {
				w.remove(OwnChain, r)
			}
		}
	}
	w.accept(added)
	if _, err := w.flush(); err != nil {
		return fmt.Errorf("write table %s: %w", n.name, err)
	}
	return nil
}

// write repairs in one transaction, and returns of how many messages.
func (n *native) write(ctx context.Context, have seen, r repair, bridges []string) (int, error) {
	w := n.batch(ctx)
	if r.makeForward {
		w.AddTable(w.table)
		w.AddChain(w.forward())
		w.count += 2
	}
	for name, missing := range map[string]bool{UserChain: r.makeUser, OwnChain: r.make} {
		if missing {
			w.AddChain(w.chain(name))
			w.count++
		}
	}
	if r.rejump {
		for _, rule := range have.rules {
			if rule.jumpsTo(UserChain) || rule.jumpsTo(OwnChain) {
				w.remove(forwardChain, rule)
			}
		}
		w.insert(jumpTo(OwnChain)) // each before what is there
		w.insert(jumpTo(UserChain))
	}
	if r.rewrite {
		if have.own {
			w.FlushChain(w.chain(OwnChain))
			w.count++
		}
		w.accept(bridges)
	}
	return w.flush()
}

// batch is a transaction of nf_tables on one filter table.
type batch struct {
	*nftables.Conn
	table *nftables.Table
	count int
	err   error
}

func (n *native) batch(ctx context.Context) *batch {
	conn, err := nftables.New(nftables.WithNetNSFd(n.netns), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return prepare(ctx, c)
	}))
	return &batch{Conn: conn, err: err, table: &nftables.Table{Name: filterTable, Family: nftables.TableFamily(n.family)}}
}

// prepare bounds how long a socket waits. Larger buffers are not vital.
func prepare(ctx context.Context, c *netlink.Conn) error {
	_ = c.SetReadBuffer(socketBuffer)
	_ = c.SetWriteBuffer(socketBuffer)
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(answerTimeout)
	}
	return c.SetDeadline(deadline)
}

func (b *batch) chain(name string) *nftables.Chain {
	return &nftables.Chain{Name: name, Table: b.table}
}

// forward is the base chain as iptables-nft makes it. It names no policy: that of a new
// chain is to accept, and one that somebody has made since it was looked for keeps its own.
func (b *batch) forward() *nftables.Chain {
	c := b.chain(forwardChain)
	c.Type, c.Hooknum, c.Priority = nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter
	return c
}

func (b *batch) insert(exprs []expr.Any) {
	b.InsertRule(&nftables.Rule{Table: b.table, Chain: b.chain(forwardChain), Exprs: exprs})
	b.count++
}

func (b *batch) accept(bridges []string) {
	for _, bridge := range bridges {
		for _, key := range []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME} {
			b.AddRule(&nftables.Rule{Table: b.table, Chain: b.chain(OwnChain), Exprs: acceptBy(key, bridge)})
			b.count++
		}
	}
}

func (b *batch) remove(chain string, r rule) {
	b.err = errors.Join(b.err, b.DelRule(&nftables.Rule{Table: b.table, Chain: b.chain(chain), Handle: r.handle}))
	b.count++
}

func (b *batch) flush() (int, error) {
	if b.err != nil || b.count == 0 {
		return 0, b.err
	}
	return b.count, b.Flush()
}

// jumpTo is -j CHAIN as iptables-nft writes it.
func jumpTo(chain string) []expr.Any {
	return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}

// acceptBy is -i BRIDGE -j ACCEPT, or the same with -o, as iptables-nft writes it: a
// name that ends with its zero is that name and no prefix.
func acceptBy(key expr.MetaKey, bridge string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: append([]byte(bridge), 0)},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}

// nameOf is the interface that bytes of a comparison stand for; empty if it is a
// prefix.
func nameOf(data []byte) string {
	name, rest, whole := bytes.Cut(data, []byte{0})
	if !whole && len(data) < unix.IFNAMSIZ || len(bytes.Trim(rest, "\x00")) > 0 {
		return ""
	}
	return string(name)
}
