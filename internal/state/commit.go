package state

import (
	"fmt"
	"net/netip"
	"reflect"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Commit is what leads a store from one revision to a later one: as it is asked for,
// or as others hear of it, who then may get several in a row as one.
type Commit struct {
	Base, Revision uint64
	Changes        []Change
}

// Then returns c and the commit that follows it as one.
func (c Commit) Then(next Commit) Commit {
	return Commit{Base: c.Base, Revision: next.Revision, Changes: Merge(c.Changes, next.Changes)}
}

// Stale is the error of a commit whose base is not what the store holds: somebody
// else has committed since. Nothing was stored.
type Stale struct{ Base, Revision uint64 }

// Error implements error.
func (s *Stale) Error() string {
	return fmt.Sprintf("the store is at revision %d, and the change is to revision %d: somebody else has changed it", s.Revision, s.Base)
}

// Check returns a *Stale unless c can follow what a store holds.
func (c Commit) Check(stored uint64) error {
	switch {
	case c.Base != stored:
		return &Stale{Base: c.Base, Revision: stored}
	case c.Revision <= c.Base:
		return fmt.Errorf("revision %d does not follow %d", c.Revision, c.Base)
	}
	return nil
}

// At returns the snapshot under a later revision: what it holds was stored again.
func (s *Snapshot) At(revision uint64) *Snapshot {
	if s.Revision == revision {
		return s
	}
	next := *s
	next.Revision = revision
	return &next
}

// Follow returns the snapshot that a commit leads to, and how it differs. The commit
// may begin before s.
func (s *Snapshot) Follow(c Commit) (*Snapshot, []Change) {
	tx := Begin(s, facts.Set{})
	for _, change := range c.Changes {
		tx.put(change)
	}
	next := tx.now
	next.Revision = c.Revision
	return &next, tx.Changes()
}

// put makes one record be as a change says.
func (tx *Tx) put(c Change) {
	switch v := c.New.(type) {
	case model.Host:
		tx.PutHost(v)
	case model.Network:
		tx.PutNetwork(v)
	case model.Container:
		tx.PutContainer(v)
	case model.Sandbox:
		tx.PutSandbox(v)
	case model.Endpoint:
		tx.PutEndpoint(v)
	case netip.Addr:
		tx.now.cursor = put(tx.now.cursor, c.ID, v)
		tx.touch(KindCursor, c.ID)
	case nil:
		tx.drop(c)
	}
}

func (tx *Tx) drop(c Change) {
	switch c.Kind {
	case KindNetwork:
		tx.dropNetwork(model.NetworkID(c.ID)) // its cursors are records of their own
	case KindContainer:
		tx.DeleteContainer(model.ContainerID(c.ID))
	case KindSandbox:
		tx.DeleteSandbox(model.SandboxID(c.ID))
	case KindEndpoint:
		tx.DeleteEndpoint(model.EndpointID(c.ID))
	case KindCursor:
		tx.now.cursor = drop(tx.now.cursor, c.ID)
		tx.touch(KindCursor, c.ID)
	}
}

// Record returns the record of a class with an ID, as in a Change; nil if it is not
// there.
func (s *Snapshot) Record(k Kind, id string) any { return s.record(touch{k, id}) }

// Diff returns the records that differ between two snapshots, whatever way led from
// one to the other. It looks at all of them.
func Diff(a, b *Snapshot) []Change {
	tx := Begin(a, facts.Set{})
	tx.now = *b
	for _, s := range []*Snapshot{a, b} {
		for n := range s.Networks() {
			tx.touch(KindNetwork, string(n.ID))
		}
		for c := range s.Containers() {
			tx.touch(KindContainer, string(c.ID))
		}
		for sb := range s.Sandboxes() {
			tx.touch(KindSandbox, string(sb.ID))
		}
		for e := range s.Endpoints() {
			tx.touch(KindEndpoint, string(e.ID))
		}
		s.cursor.Root().Walk(func(key []byte, _ netip.Addr) bool {
			tx.touch(KindCursor, string(key))
			return false
		})
	}
	tx.touch(KindHost, "host")
	var out []Change
	for _, c := range tx.Changes() {
		if !reflect.DeepEqual(c.Old, c.New) {
			out = append(out, c)
		}
	}
	return out
}
