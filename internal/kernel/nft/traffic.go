package nft

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/nft/datatypes"
	"github.com/linkspan/linkspan/internal/kernel/nft/wire"
)

// Traffic reads the counters of all published ports, ordered by protocol,
// address and port. Connections are counted where they are translated, which
// happens once for each; packets and bytes where they are let in. It reads the
// sets of ports alone, some five microseconds for each port, and costs nothing
// while nobody asks. With Options.Beside connections are not counted, and ports that
// are open without being translated are among the others.
func (b *Backend) Traffic(ctx context.Context) ([]facts.PortTraffic, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := tally{}
	for _, s := range openSets() {
		if err := b.countLocked(ctx, s.name, func(e seenElement) { t.add(s, e) }); err != nil {
			return nil, err
		}
	}
	t.sort()
	for _, s := range mapSets() {
		if _, known := b.idx[s.name]; !known { // another backend translates
			return t.all(), nil
		}
		if err := b.countLocked(ctx, s.name, func(e seenElement) { t.connect(s, e) }); err != nil {
			return nil, err
		}
	}
	return t.published(), nil
}

// countLocked visits the elements of a set. One that is not there has none: the
// next repair will say so.
func (b *Backend) countLocked(ctx context.Context, name string, visit func(seenElement)) error {
	var found []seenElement
	err := wire.ErrInterrupted
	for attempt := 0; attempt < readAttempts && errors.Is(err, wire.ErrInterrupted); attempt++ {
		found = found[:0]
		err = b.conn.eachElement(ctx, b.idx[name].table, name, func(e seenElement) { found = append(found, e) })
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("read traffic of published ports: set %s: %w", name, err)
	}
	for _, e := range found {
		visit(e)
	}
	return nil
}

// portSet says how the keys of a set of ports are made.
type portSet struct {
	name     string
	any      netip.Addr // what keys without an address stand for
	family   bool       // keys begin with the family
	addrSize int        // bytes of the address in keys
}

func openSets() []portSet {
	return []portSet{
		{name: setOpenAny, family: true}, {name: setOpenRange, family: true},
		{name: setOpen4, addrSize: 4}, {name: setOpen4Range, addrSize: 4},
		{name: setOpen6, addrSize: 16}, {name: setOpen6Range, addrSize: 16},
	}
}

func mapSets() []portSet {
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	return []portSet{
		{name: setPorts4Any, any: any4}, {name: setRanges4Any, any: any4},
		{name: setPorts6Any, any: any6}, {name: setRanges6Any, any: any6},
		{name: setPorts4, addrSize: 4}, {name: setRanges4, addrSize: 4},
		{name: setPorts6, addrSize: 16}, {name: setRanges6, addrSize: 16},
	}
}

// parse reads protocol, address and port from a key; false if it is too short.
func (s portSet) parse(key string) (p facts.PortTraffic, ok bool) {
	const register = 4
	p.Host = s.any
	if s.family && len(key) >= register {
		p.Host = netip.IPv6Unspecified()
		if key[0] == unix.NFPROTO_IPV4 {
			p.Host = netip.IPv4Unspecified()
		}
		key = key[register:]
	}
	if len(key) != register+s.addrSize+register {
		return p, false
	}
	p.Protocol = datatypes.Protocol(key[0])
	if s.addrSize > 0 {
		p.Host, _ = netip.AddrFromSlice([]byte(key[register : register+s.addrSize]))
	}
	p.First = binary.BigEndian.Uint16([]byte(key[register+s.addrSize:]))
	return p, true
}

// tally is the published ports, in order once sort was called.
type tally []entry

type entry struct {
	facts.PortTraffic
	translated bool // else it is open to direct routing, and not published
}

func (t *tally) add(s portSet, e seenElement) {
	p, ok := s.parse(e.key)
	if !ok {
		return
	}
	p.Last, p.Packets, p.Bytes = p.First, e.packets, e.bytes
	if e.last != "" {
		last, _ := s.parse(e.last)
		p.Last = last.First
	}
	*t = append(*t, entry{PortTraffic: p})
}

func order(a, b facts.PortTraffic) int {
	return cmp.Or(strings.Compare(string(a.Protocol), string(b.Protocol)), a.Host.Compare(b.Host), cmp.Compare(a.First, b.First))
}

func (t tally) sort() {
	slices.SortFunc(t, func(a, b entry) int { return order(a.PortTraffic, b.PortTraffic) })
}

// connect counts an element of a map for the entry that its port belongs to.
func (t tally) connect(s portSet, e seenElement) {
	p, ok := s.parse(e.key)
	if !ok {
		return
	}
	at, exact := slices.BinarySearchFunc(t, p, func(x entry, p facts.PortTraffic) int { return order(x.PortTraffic, p) })
	if !exact {
		at-- // within a range
	}
	if at < 0 || t[at].Protocol != p.Protocol || t[at].Host != p.Host || t[at].Last < p.First {
		return
	}
	t[at].translated = true
	t[at].Connections += e.packets
}

func (t tally) all() (out []facts.PortTraffic) {
	for _, e := range t {
		out = append(out, e.PortTraffic)
	}
	return out
}

func (t tally) published() (out []facts.PortTraffic) {
	for _, e := range t {
		if e.translated {
			out = append(out, e.PortTraffic)
		}
	}
	return out
}
