package state

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Kind names a class of records in a Change.
type Kind string

// The classes of records.
const (
	KindHost      Kind = "host"
	KindNetwork   Kind = "network"
	KindContainer Kind = "container"
	KindSandbox   Kind = "sandbox"
	KindEndpoint  Kind = "endpoint"
	KindCursor    Kind = "cursor"
)

// Change is one record that differs between two snapshots. Old or New is nil
// where the record is not there; otherwise both are of the class's type:
// model.Host, model.Network, model.Container, model.Sandbox, model.Endpoint or
// netip.Addr.
type Change struct {
	Kind     Kind
	ID       string
	Old, New any
}

// Tx edits a private copy of a snapshot. It is used by one goroutine and then
// either committed or forgotten.
type Tx struct {
	base  *Snapshot
	now   Snapshot
	facts facts.Set
	wrote map[touch]struct{}
}

type touch struct {
	kind Kind
	id   string
}

// Begin returns a transaction on s that sees the given facts.
func Begin(s *Snapshot, f facts.Set) *Tx {
	return &Tx{base: s, now: *s, facts: f, wrote: map[touch]struct{}{}}
}

// Facts returns what is known of the host and of endpoints.
func (tx *Tx) Facts() facts.Set { return tx.facts }

// View returns the model as the transaction left it so far. It stays as it is
// when the transaction goes on.
func (tx *Tx) View() *Snapshot {
	view := tx.now
	return &view
}

// PutHost stores what the engine does to the machine as a whole.
func (tx *Tx) PutHost(h model.Host) {
	tx.now.host = h
	tx.touch(KindHost, "host")
}

// PutNetwork stores n under its ID.
func (tx *Tx) PutNetwork(n model.Network) {
	if old, ok := tx.now.Network(n.ID); ok {
		tx.unindex(string(old.ID), "name", old.Name)
	}
	tx.now.networks = put(tx.now.networks, string(n.ID), n)
	tx.index(string(n.ID), "name", n.Name)
	tx.touch(KindNetwork, string(n.ID))
}

// DeleteNetwork removes a network; its endpoints must be gone.
func (tx *Tx) DeleteNetwork(id model.NetworkID) {
	if !tx.dropNetwork(id) {
		return
	}
	for _, f := range model.Families {
		if tx.now.Cursor(id, f).IsValid() {
			tx.now.cursor = drop(tx.now.cursor, string(cursorKey(id, f)))
			tx.touch(KindCursor, string(cursorKey(id, f)))
		}
	}
}

// dropNetwork removes the record of a network and tells whether there was one.
func (tx *Tx) dropNetwork(id model.NetworkID) bool {
	old, ok := tx.now.Network(id)
	if ok {
		tx.unindex(string(old.ID), "name", old.Name)
		tx.now.networks = drop(tx.now.networks, string(id))
		tx.touch(KindNetwork, string(id))
	}
	return ok
}

// PutContainer stores c under its ID, and under its name, which nobody else may
// have.
func (tx *Tx) PutContainer(c model.Container) {
	if old, ok := tx.now.Container(c.ID); ok {
		tx.unindex(string(old.ID), "container name", old.Name)
	}
	tx.now.container = put(tx.now.container, string(c.ID), c)
	tx.index(string(c.ID), "container name", c.Name)
	tx.touch(KindContainer, string(c.ID))
}

// DeleteContainer removes the record of a container.
func (tx *Tx) DeleteContainer(id model.ContainerID) {
	if old, ok := tx.now.Container(id); ok {
		tx.unindex(string(old.ID), "container name", old.Name)
		tx.now.container = drop(tx.now.container, string(id))
		tx.touch(KindContainer, string(id))
	}
}

// PutSandbox stores sb under its ID.
func (tx *Tx) PutSandbox(sb model.Sandbox) {
	old, ok := tx.now.Sandbox(sb.ID)
	if ok {
		tx.unindexSandbox(old)
	}
	tx.indexPorts(old, sb)
	tx.now.sandbox = put(tx.now.sandbox, string(sb.ID), sb)
	for _, words := range sandboxIndex(sb) {
		tx.index(string(sb.ID), words...)
	}
	tx.touch(KindSandbox, string(sb.ID))
}

// DeleteSandbox removes a sandbox; its endpoints must be gone.
func (tx *Tx) DeleteSandbox(id model.SandboxID) {
	if old, ok := tx.now.Sandbox(id); ok {
		tx.unindexSandbox(old)
		tx.indexPorts(old, model.Sandbox{})
		tx.now.sandbox = drop(tx.now.sandbox, string(id))
		tx.touch(KindSandbox, string(id))
	}
}

// PutEndpoint stores e under its ID.
func (tx *Tx) PutEndpoint(e model.Endpoint) {
	if old, ok := tx.now.Endpoint(e.ID); ok {
		tx.unindexEndpoint(old)
	}
	tx.now.endpoint = put(tx.now.endpoint, string(e.ID), e)
	for _, words := range endpointIndex(e) {
		tx.index(string(e.ID), words...)
	}
	tx.touch(KindEndpoint, string(e.ID))
}

// DeleteEndpoint removes an endpoint.
func (tx *Tx) DeleteEndpoint(id model.EndpointID) {
	if old, ok := tx.now.Endpoint(id); ok {
		tx.unindexEndpoint(old)
		tx.now.endpoint = drop(tx.now.endpoint, string(id))
		tx.touch(KindEndpoint, string(id))
	}
}

// PutCursor remembers the address last given out on a network.
func (tx *Tx) PutCursor(network model.NetworkID, a netip.Addr) {
	key := string(cursorKey(network, model.FamilyOf(a)))
	tx.now.cursor = put(tx.now.cursor, key, a)
	tx.touch(KindCursor, key)
}

// Commit returns the next snapshot and the records that changed, in the order
// of their class and ID. The transaction must not be used afterwards.
func (tx *Tx) Commit() (*Snapshot, []Change) {
	next := tx.now
	next.Revision = tx.base.Revision + 1
	return &next, tx.Changes()
}

// Changes returns the records written so far.
func (tx *Tx) Changes() []Change {
	out := make([]Change, 0, len(tx.wrote))
	for t := range tx.wrote {
		c := Change{t.kind, t.id, tx.base.record(t), tx.now.record(t)}
		if c.Old != nil || c.New != nil {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Change) int {
		if a.Kind != b.Kind {
			return cmp.Compare(a.Kind, b.Kind)
		}
		return cmp.Compare(a.ID, b.ID)
	})
	return out
}

// Merge returns the records that differ after a and then b: what two
// transactions in a row changed.
func Merge(a, b []Change) []Change {
	at := map[touch]int{}
	out := slices.Clone(a)
	for i, c := range out {
		at[touch{c.Kind, c.ID}] = i
	}
	for _, c := range b {
		if i, ok := at[touch{c.Kind, c.ID}]; ok {
			out[i].New = c.New
		} else {
			out = append(out, c)
		}
	}
	return out
}

// Invert returns the records that lead back.
func Invert(changes []Change) []Change {
	out := make([]Change, len(changes))
	for i, c := range changes {
		out[i] = Change{c.Kind, c.ID, c.New, c.Old}
	}
	return out
}

// Restore returns a transaction's worth of records as a snapshot: what a store
// loaded. Records of an unknown class are a programming error.
func Restore(revision uint64, records []Change) *Snapshot {
	tx := Begin(Empty(), facts.Set{})
	for _, r := range records {
		tx.put(r)
	}
	next := tx.now
	next.Revision = revision
	return &next
}

// record returns what a snapshot holds under t, or nil.
func (s *Snapshot) record(t touch) any {
	var v any
	var ok bool
	switch t.kind {
	case KindHost:
		return s.host
	case KindNetwork:
		v, ok = s.networks.Get([]byte(t.id))
	case KindContainer:
		v, ok = s.container.Get([]byte(t.id))
	case KindSandbox:
		v, ok = s.sandbox.Get([]byte(t.id))
	case KindEndpoint:
		v, ok = s.endpoint.Get([]byte(t.id))
	case KindCursor:
		v, ok = s.cursor.Get([]byte(t.id))
	}
	if !ok {
		return nil
	}
	return v
}

// sandboxIndex returns the words under which a sandbox can be found.
func sandboxIndex(sb model.Sandbox) [][]string {
	words := [][]string{{"container", string(sb.Container)}}
	if sb.Guest != nil {
		words = append(words, guestIndex(*sb.Guest))
	}
	return words
}

func guestIndex(g model.Guest) []string {
	return []string{"guest", g.Boot, strconv.FormatUint(g.Device, 10), strconv.FormatUint(g.Inode, 10)}
}

func (tx *Tx) unindexSandbox(sb model.Sandbox) {
	for _, words := range sandboxIndex(sb) {
		tx.unindex(string(sb.ID), words...)
	}
}

// endpointIndex returns the words under which an endpoint can be found. An
// endpoint that is down still holds its addresses: they are claims.
func endpointIndex(e model.Endpoint) [][]string {
	id := string(e.ID)
	words := [][]string{{"sandbox", string(e.Sandbox), id}, {"network", string(e.Network), id}}
	for _, a := range []netip.Addr{e.Addr4, e.Addr6} {
		if a.IsValid() {
			words = append(words, []string{"address", string(e.Network), a.String(), id})
		}
	}
	if e.MAC != "" {
		words = append(words, []string{"mac", string(e.Network), e.MAC, id})
	}
	if c := e.Claim; c != nil {
		words = append(words, []string{"claim", c.Door, c.Container, id})
	}
	return words
}

func (tx *Tx) unindexEndpoint(e model.Endpoint) {
	for _, words := range endpointIndex(e) {
		tx.unindex(string(e.ID), words...)
	}
}

func (tx *Tx) index(id string, words ...string) {
	tx.now.index = put(tx.now.index, string(indexKey(words...)), id)
}

// unindex forgets that words lead to an ID. They may lead to another one by now.
func (tx *Tx) unindex(id string, words ...string) {
	if key := indexKey(words...); isAt(tx.now.index, key, id) {
		tx.now.index = drop(tx.now.index, string(key))
	}
}

func isAt(t *iradix.Tree[string], key []byte, id string) bool {
	at, there := t.Get(key)
	return there && at == id
}

func (tx *Tx) touch(k Kind, id string) { tx.wrote[touch{k, id}] = struct{}{} }

func put[T any](t *iradix.Tree[T], key string, v T) *iradix.Tree[T] {
	next, _, _ := t.Insert([]byte(key), v)
	return next
}

func drop[T any](t *iradix.Tree[T], key string) *iradix.Tree[T] {
	next, _, _ := t.Delete([]byte(key))
	return next
}
