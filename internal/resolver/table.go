package resolver

import (
	"iter"
	"net/netip"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/resolver/message"
)

// table is every name of every network. It is immutable: queries read one while
// the next is being made, and both share what did not change.
type table struct {
	zones *iradix.Tree[*zone] // by network ID
}

// zone is the names of one network.
type zone struct {
	network string                   // its name in canonical form
	names   *iradix.Tree[*nameEntry] // by name in canonical form
	reverse *iradix.Tree[[]byte]     // by reverseKey; the answer to PTR in wire form
}

// nameEntry is the endpoints that answer to one name.
type nameEntry struct {
	rows   []desired.Name
	v4, v6 []netip.Addr // of all rows, each address once
}

func newTable() *table { return &table{zones: iradix.New[*zone]()} }

// rows yields every row the table was made of.
func (t *table) rows() iter.Seq[desired.Name] {
	return func(yield func(desired.Name) bool) {
		t.zones.Root().Walk(func(_ []byte, z *zone) bool {
			stop := false
			z.names.Root().Walk(func(_ []byte, h *nameEntry) bool {
				for _, row := range h.rows {
					stop = stop || !yield(row)
				}
				return stop
			})
			return stop
		})
	}
}

// edit collects changes to a table. It is for one goroutine.
type edit struct {
	zones *iradix.Txn[*zone]
	open  map[model.NetworkID]*zoneEdit
}

type zoneEdit struct {
	network string
	names   *iradix.Txn[*nameEntry]
	reverse *iradix.Txn[[]byte]
}

func (t *table) edit() *edit {
	return &edit{zones: t.zones.Txn(), open: map[model.NetworkID]*zoneEdit{}}
}

func (e *edit) zone(id model.NetworkID) *zoneEdit {
	if z, ok := e.open[id]; ok {
		return z
	}
	z, ok := e.zones.Get([]byte(id))
	if !ok {
		z = &zone{names: iradix.New[*nameEntry](), reverse: iradix.New[[]byte]()}
	}
	open := &zoneEdit{z.network, z.names.Txn(), z.reverse.Txn()}
	e.open[id] = open
	return open
}

// put adds row, in place of the one with its key, and tells whether that was a
// change.
func (e *edit) put(row desired.Name) bool {
	z, key := e.zone(row.Network), []byte(message.Canonical(row.Name))
	h, _ := z.names.Get(key)
	rest, old := h.without(row)
	if old != nil {
		if sameName(*old, row) {
			return false
		}
		z.forget(*old)
	}
	z.network = message.Canonical(row.NetworkName)
	z.names.Insert(key, newNameEntry(append(rest, row)))
	if target := ptrTarget(row); target != nil {
		for _, a := range row.Addrs {
			z.reverse.Insert(reverseKey(a, row), target)
		}
	}
	return true
}

// remove takes out the row with row's key, whatever else row says.
func (e *edit) remove(row desired.Name) {
	z, key := e.zone(row.Network), []byte(message.Canonical(row.Name))
	h, _ := z.names.Get(key)
	rest, old := h.without(row)
	if old == nil {
		return
	}
	z.forget(*old)
	if len(rest) == 0 {
		z.names.Delete(key)
	} else {
		z.names.Insert(key, newNameEntry(rest))
	}
}

func (z *zoneEdit) forget(row desired.Name) {
	for _, a := range row.Addrs {
		z.reverse.Delete(reverseKey(a, row))
	}
}

// commit returns the changed table; the one that was edited stays as it was.
func (e *edit) commit() *table {
	for id, open := range e.open {
		z := &zone{open.network, open.names.Commit(), open.reverse.Commit()}
		if z.names.Len() == 0 {
			e.zones.Delete([]byte(id))
		} else {
			e.zones.Insert([]byte(id), z)
		}
	}
	return &table{zones: e.zones.Commit()}
}

func newNameEntry(rows []desired.Name) *nameEntry {
	h := &nameEntry{rows: rows}
	for _, row := range rows {
		for _, a := range row.Addrs {
			a = a.Unmap().WithZone("")
			family := &h.v6
			if a.Is4() {
				family = &h.v4
			}
			*family = append(*family, a)
		}
	}
	h.v4, h.v6 = distinct(h.v4), distinct(h.v6)
	return h
}

func distinct(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// without returns a copy of the rows that are not the one with row's key, and
// that one.
func (h *nameEntry) without(row desired.Name) (rest []desired.Name, old *desired.Name) {
	if h == nil {
		return nil, nil
	}
	rest = make([]desired.Name, 0, len(h.rows)+1)
	for _, r := range h.rows {
		if r.Endpoint == row.Endpoint && r.Name == row.Name {
			old = &r
		} else {
			rest = append(rest, r)
		}
	}
	return rest, old
}

// reverseKey begins with the address and ends with who claims it: while an
// address passes from one endpoint to another, neither row removes the other's.
func reverseKey(a netip.Addr, row desired.Name) []byte {
	key := a.As16()
	return append(append(append(key[:], row.Endpoint...), 0), row.Name...)
}

// ptrTarget is "<name>.<network>." in wire form; nil if the row is not the one
// for reverse look-ups, or its name cannot be said in DNS.
func ptrTarget(row desired.Name) []byte {
	if !row.Primary {
		return nil
	}
	wire, _ := message.Wire(row.Name + "." + row.NetworkName)
	return wire
}

func sameName(a, b desired.Name) bool {
	return a.Network == b.Network && a.NetworkName == b.NetworkName && a.Name == b.Name &&
		a.Endpoint == b.Endpoint && a.Primary == b.Primary && slices.Equal(a.Addrs, b.Addrs)
}
