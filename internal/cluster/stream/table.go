package stream

import (
	"maps"
	"slices"

	"github.com/linkspan/linkspan/internal/model"
)

// table is all that a manager knows: the rows of each host. It is data; whoever has it
// guards it.
type table struct {
	hosts map[string]*origin
	rev   uint64
}

// origin is what one host publishes.
type origin struct {
	rows map[model.EndpointID]Row
	// fresh are those that its session has named so far; nil once it has named all.
	fresh map[model.EndpointID]bool
	whole bool // the session that there is has named all
}

func newTable() *table { return &table{hosts: map[string]*origin{}} }

// begin takes up a new session of a host: what it had before stays until the session has
// named all.
func (t *table) begin(node string) {
	o, known := t.hosts[node]
	if !known {
		o = &origin{rows: map[model.EndpointID]Row{}}
		t.hosts[node] = o
	}
	o.fresh, o.whole = map[model.EndpointID]bool{}, false
}

// put takes in a row of a host, and tells whether that changed anything. A host has so many
// and no more.
func (t *table) put(node string, r model.Remote) (changed bool) {
	o, known := t.hosts[node]
	if !known {
		return false
	}
	r.Node = node
	if o.fresh != nil {
		o.fresh[r.Endpoint] = true
	}
	have, there := o.rows[r.Endpoint]
	if there && same(have.Remote, r) || !there && len(o.rows) >= maxRows {
		return false
	}
	t.rev++
	o.rows[r.Endpoint] = Row{r, t.rev}
	return true
}

// drop forgets a row, and returns it.
func (t *table) drop(node string, id model.EndpointID) (Row, bool) {
	o, known := t.hosts[node]
	if !known {
		return Row{}, false
	}
	delete(o.fresh, id)
	r, there := o.rows[id]
	delete(o.rows, id)
	return r, there
}

// synced says that a session has named all that its host has; what else there was is
// forgotten, and returned.
func (t *table) synced(node string) (gone []Row) {
	o, known := t.hosts[node]
	if !known || o.fresh == nil {
		return nil
	}
	for id, r := range o.rows {
		if !o.fresh[id] {
			delete(o.rows, id)
			gone = append(gone, r)
		}
	}
	o.fresh, o.whole = nil, true
	return gone
}

// lost says that a host's session is gone: its rows stay, but are not known to be all.
func (t *table) lost(node string) {
	if o, known := t.hosts[node]; known {
		o.whole = false
	}
}

// forget forgets a host, and returns what its rows were.
func (t *table) forget(node string) (gone []Row) {
	if o, known := t.hosts[node]; known {
		gone = slices.Collect(maps.Values(o.rows))
		delete(t.hosts, node)
	}
	return gone
}

// row returns a row as it is.
func (t *table) row(id ID) (Row, bool) {
	o, known := t.hosts[id.Node]
	if !known {
		return Row{}, false
	}
	r, there := o.rows[id.Endpoint]
	return r, there
}

// on returns the rows of a network but for those of one host.
func (t *table) on(n model.NetworkID, but string) (out []ID) {
	for node, o := range t.hosts {
		for id, r := range o.rows {
			if node != but && r.Network == n {
				out = append(out, ID{node, id})
			}
		}
	}
	return out
}
