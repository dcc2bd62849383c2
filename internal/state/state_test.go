package state

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

func TestTransactionLeavesItsOriginAlone(t *testing.T) {
	tx := Begin(Empty(), facts.Set{})
	tx.PutNetwork(model.Network{ID: "n1", Name: "web"})
	first, _ := tx.Commit()
	tx = Begin(first, facts.Set{})
	tx.PutNetwork(model.Network{ID: "n1", Name: "renamed"})
	view := tx.View()
	tx.DeleteNetwork("n1")
	second, changes := tx.Commit()
	if _, ok := first.NetworkNamed("web"); !ok {
		t.Error("the origin lost its network")
	}
	if _, ok := view.NetworkNamed("renamed"); !ok {
		t.Error("a view changed after it was taken")
	}
	if _, ok := second.Network("n1"); ok || second.Revision != first.Revision+1 {
		t.Error("the network is still there")
	}
	if len(changes) != 1 || changes[0].New != nil || changes[0].Old.(model.Network).Name != "web" {
		t.Errorf("changes %+v, want the removal of what was there before", changes)
	}
}

func TestFindNetwork(t *testing.T) {
	tx := Begin(Empty(), facts.Set{})
	tx.PutNetwork(model.Network{ID: "aabb1", Name: "web"})
	tx.PutNetwork(model.Network{ID: "aabb2", Name: "aabb1x"})
	s := tx.View()
	for term, want := range map[string]string{"aabb1": "web", "web": "web", "aabb2": "aabb1x", "aabb1x": "aabb1x"} {
		if n, err := s.FindNetwork(term); err != nil || n.Name != want {
			t.Errorf("%s: %s (%v), want %s", term, n.Name, err, want)
		}
	}
	if _, err := s.FindNetwork("aab"); model.KindOf(err) != model.Invalid || err.Error() != "2 matches found based on ID prefix: network aab is ambiguous" {
		t.Errorf("error %v", err)
	}
	for _, term := range []string{"", "nobody"} {
		if _, err := s.FindNetwork(term); model.KindOf(err) != model.NotFound {
			t.Errorf("%q: error %v", term, err)
		}
	}
}

// TestIndexes writes at random and compares every look-up with a search.
func TestIndexes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := Empty()
	for range 500 {
		tx := Begin(s, facts.Set{})
		id := model.EndpointID(fmt.Sprint("e", rng.IntN(8)))
		if rng.IntN(3) == 0 {
			tx.DeleteEndpoint(id)
		} else {
			tx.PutEndpoint(model.Endpoint{
				ID: id, Network: model.NetworkID(fmt.Sprint("n", rng.IntN(3))), Sandbox: model.SandboxID(fmt.Sprint("s", rng.IntN(3))),
				Addr4: netip.AddrFrom4([4]byte{10, 0, 0, byte(rng.IntN(3))}),
			})
		}
		s, _ = tx.Commit()
		compareIndexes(t, s)
	}
}

func compareIndexes(t *testing.T, s *Snapshot) {
	t.Helper()
	search := func(keep func(model.Endpoint) bool) (out []model.EndpointID) {
		for e := range s.Endpoints() {
			if keep(e) {
				out = append(out, e.ID)
			}
		}
		return out
	}
	ids := func(seq func(func(model.Endpoint) bool)) (out []model.EndpointID) {
		for e := range seq {
			out = append(out, e.ID)
		}
		return out
	}
	for i := range 3 {
		n, sb, a := model.NetworkID(fmt.Sprint("n", i)), model.SandboxID(fmt.Sprint("s", i)), netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		for what, pair := range map[string][2][]model.EndpointID{
			"network": {ids(s.EndpointsOn(n)), search(func(e model.Endpoint) bool { return e.Network == n })},
			"sandbox": {ids(s.EndpointsOf(sb)), search(func(e model.Endpoint) bool { return e.Sandbox == sb })},
			"address": {ids(s.Holders(n, a)), search(func(e model.Endpoint) bool { return e.Network == n && e.Addr4 == a })},
		} {
			if !slices.Equal(pair[0], pair[1]) {
				t.Fatalf("by %s %d: %v, a search finds %v", what, i, pair[0], pair[1])
			}
		}
	}
}

func TestMergeAndInvert(t *testing.T) {
	put := func(name string) func(*Tx) {
		return func(tx *Tx) { tx.PutNetwork(model.Network{ID: "n1", Name: name}) }
	}
	run := func(s *Snapshot, f func(*Tx)) (*Snapshot, []Change) {
		tx := Begin(s, facts.Set{})
		f(tx)
		return tx.Commit()
	}
	base, _ := run(Empty(), put("one"))
	mid, a := run(base, put("two"))
	_, b := run(mid, put("three"))
	both := Merge(a, b)
	if len(both) != 1 || both[0].Old.(model.Network).Name != "one" || both[0].New.(model.Network).Name != "three" {
		t.Errorf("merged %+v, want one to three", both)
	}
	back := Invert(both)
	if back[0].Old.(model.Network).Name != "three" || back[0].New.(model.Network).Name != "one" {
		t.Errorf("inverted %+v", back)
	}
}

// TestContainerNames gives names at random and compares every look-up with a search.
func TestContainerNames(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	s := Empty()
	for range 500 {
		tx := Begin(s, facts.Set{})
		id, name := model.ContainerID(fmt.Sprint("c", rng.IntN(5))), fmt.Sprint("name", rng.IntN(8))
		if rng.IntN(3) == 0 {
			tx.DeleteContainer(id)
		} else if holder, taken := tx.View().ContainerNamed(name); !taken || holder.ID == id {
			tx.PutContainer(model.Container{ID: id, Name: name})
		}
		s, _ = tx.Commit()
		for i := range 8 {
			name, want := fmt.Sprint("name", i), model.ContainerID("")
			for c := range s.Containers() {
				if c.Name == name {
					want = c.ID
				}
			}
			if got, ok := s.ContainerNamed(name); got.ID != want || ok != (want != "") {
				t.Fatalf("%s leads to %q, a search finds %q", name, got.ID, want)
			}
		}
	}
}
