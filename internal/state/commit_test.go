package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// randomly edits a snapshot.
func randomly(rng *rand.Rand, s *Snapshot, edits int) (*Snapshot, Commit) {
	tx := Begin(s, facts.Set{})
	for i := range edits {
		id, name := fmt.Sprint(rng.IntN(4)), fmt.Sprint("name", rng.IntN(8))
		switch rng.IntN(9) {
		case 0:
			tx.DeleteNetwork(model.NetworkID(id))
		case 1:
			tx.DeleteContainer(model.ContainerID(id))
		case 2:
			tx.DeleteEndpoint(model.EndpointID(id))
		case 3:
			tx.DeleteSandbox(model.SandboxID(id))
		case 4:
			tx.PutCursor(model.NetworkID(id), netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
		case 5:
			tx.PutHost(model.Host{BootID: name})
		case 6:
			tx.PutEndpoint(model.Endpoint{ID: model.EndpointID(id), Network: "0", Addr4: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})})
		case 7:
			if other, taken := tx.View().SandboxOf(model.ContainerID(name)); taken && string(other.ID) != id {
				continue // names are unique, and pass on once they are free
			}
			tx.PutSandbox(model.Sandbox{ID: model.SandboxID(id), Container: model.ContainerID(name), Name: name})
		default:
			if other, taken := tx.View().NetworkNamed(name); taken && string(other.ID) != id {
				continue
			}
			tx.PutNetwork(model.Network{ID: model.NetworkID(id), Name: name})
		}
	}
	next, changes := tx.Commit()
	return next, Commit{Base: s.Revision, Revision: next.Revision, Changes: changes}
}

// contents are what look-ups find in a snapshot.
func contents(s *Snapshot) string {
	out := fmt.Sprintf("%d %+v\n", s.Revision, s.Host())
	for i := range 8 {
		name := fmt.Sprint("name", i)
		n, okN := s.NetworkNamed(name)
		sb, okS := s.SandboxOf(model.ContainerID(name))
		out += fmt.Sprint(name, ": ", n, okN, sb, okS, "\n")
	}
	for i := range 4 {
		id := fmt.Sprint(i)
		n, okN := s.Network(model.NetworkID(id))
		sb, okS := s.Sandbox(model.SandboxID(id))
		e, okE := s.Endpoint(model.EndpointID(id))
		out += fmt.Sprint(id, ": ", n, okN, sb, okS, e, okE, s.Cursor(model.NetworkID(id), model.IPv4), "\n")
	}
	for i := range 40 {
		for e := range s.Holders("0", netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})) {
			out += fmt.Sprint(i, " ", e.ID, "\n")
		}
	}
	return out
}

// TestFollowLeadsToTheSame: whoever follows commits, one by one or several as one,
// also such as it has in part, comes to what the writer has; and Diff finds a way, too.
func TestFollowLeadsToTheSame(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		writer, reader, slow, lost := Empty(), Empty(), Empty(), Empty()
		var waiting Commit
		for range 12 {
			next, c := randomly(rng, writer, 1+rng.IntN(6))
			followed, changes := reader.Follow(c)
			if !reflect.DeepEqual(changes, c.Changes) || contents(followed) != contents(next) {
				t.Fatalf("seed %d: followed to\n%s\nwant\n%s", seed, contents(followed), contents(next))
			}
			if waiting.Revision == 0 {
				waiting = c
			} else {
				waiting = waiting.Then(c)
			}
			if rng.IntN(4) == 0 {
				slow, _ = slow.Follow(waiting) // from anywhere between its base and its end
			}
			if rng.IntN(4) == 0 {
				lost, _ = lost.Follow(Commit{Revision: next.Revision, Changes: Diff(lost, next)})
				if contents(lost) != contents(next) || len(Diff(lost, next)) != 0 {
					t.Fatalf("seed %d: the difference leads to\n%s\nwant\n%s", seed, contents(lost), contents(next))
				}
			}
			writer, reader = next, followed
		}
		if slow, _ = slow.Follow(waiting); contents(slow) != contents(writer) || waiting.Base != 0 {
			t.Fatalf("seed %d: several as one lead to\n%s\nwant\n%s", seed, contents(slow), contents(writer))
		}
	}
}

func TestCommitNeedsItsBase(t *testing.T) {
	var stale *Stale
	if err := (Commit{Base: 2, Revision: 3}).Check(4); !errors.As(err, &stale) || *stale != (Stale{Base: 2, Revision: 4}) {
		t.Errorf("error %v", err)
	}
	if err := (Commit{Base: 2, Revision: 2}).Check(2); err == nil || errors.As(err, &stale) {
		t.Errorf("error %v", err)
	}
	if err := (Commit{Base: 2, Revision: 9}).Check(2); err != nil {
		t.Error(err)
	}
}
