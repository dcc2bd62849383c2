// Package state holds the immutable model of everything the user asked for, and
// the transaction that makes the next one.
//
// A Snapshot never changes: readers load it and look without a lock. A Tx edits
// a private copy that shares structure with its origin, so that neither costs
// more as the number of endpoints grows. Nothing here performs I/O.
package state

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strings"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/linkspan/linkspan/internal/model"
)

// Snapshot is the model at one revision.
type Snapshot struct {
	Revision  uint64
	host      model.Host
	networks  *iradix.Tree[model.Network]
	container *iradix.Tree[model.Container]
	sandbox   *iradix.Tree[model.Sandbox]
	endpoint  *iradix.Tree[model.Endpoint]
	cursor    *iradix.Tree[netip.Addr]
	// index holds what is looked up by something other than its ID; every key
	// is words joined by NUL, every value the ID it leads to.
	index *iradix.Tree[string]
	// ports holds who has or claims which host ports, by page.
	ports *iradix.Tree[PortUse]
}

// Empty returns the snapshot in which nothing was asked for.
func Empty() *Snapshot {
	return &Snapshot{
		networks:  iradix.New[model.Network](),
		container: iradix.New[model.Container](),
		sandbox:   iradix.New[model.Sandbox](),
		endpoint:  iradix.New[model.Endpoint](),
		cursor:    iradix.New[netip.Addr](),
		index:     iradix.New[string](),
		ports:     iradix.New[PortUse](),
	}
}

// Host returns what the engine does to the machine as a whole.
func (s *Snapshot) Host() model.Host { return s.host }

// Network returns the network with the given ID.
func (s *Snapshot) Network(id model.NetworkID) (model.Network, bool) {
	return s.networks.Get([]byte(id))
}

// Networks yields all networks, ordered by ID.
func (s *Snapshot) Networks() iter.Seq[model.Network] { return values(s.networks) }

// NetworkNamed returns the network called name.
func (s *Snapshot) NetworkNamed(name string) (model.Network, bool) {
	id, ok := s.index.Get(indexKey("name", name))
	if !ok {
		return model.Network{}, false
	}
	return s.Network(model.NetworkID(id))
}

// NetworksByPrefix returns the networks whose ID begins with prefix.
func (s *Snapshot) NetworksByPrefix(prefix string) []model.Network {
	var out []model.Network
	s.networks.Root().WalkPrefix([]byte(prefix), func(_ []byte, n model.Network) bool {
		out = append(out, n)
		return false
	})
	return out
}

// FindNetwork looks a network up as Docker does: by full ID, then by name, then
// by a prefix of the ID that is not ambiguous.
func (s *Snapshot) FindNetwork(term string) (model.Network, error) {
	if n, ok := s.Network(model.NetworkID(term)); ok {
		return n, nil
	}
	if n, ok := s.NetworkNamed(term); ok {
		return n, nil
	}
	var found []model.Network
	if term != "" {
		found = s.NetworksByPrefix(term)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return model.Network{}, model.Errorf(model.NotFound, "network %s not found", term)
	}
	return model.Network{}, model.Errorf(model.Invalid, "%d matches found based on ID prefix: network %s is ambiguous", len(found), term)
}

// Container returns the record of the container with the given ID.
func (s *Snapshot) Container(id model.ContainerID) (model.Container, bool) {
	return s.container.Get([]byte(id))
}

// Containers yields the records of all containers, ordered by ID.
func (s *Snapshot) Containers() iter.Seq[model.Container] { return values(s.container) }

// ContainerNamed returns the container called name, without a slash.
func (s *Snapshot) ContainerNamed(name string) (model.Container, bool) {
	id, ok := s.index.Get(indexKey("container name", name))
	if !ok {
		return model.Container{}, false
	}
	return s.Container(model.ContainerID(id))
}

// Sandbox returns the sandbox with the given ID.
func (s *Snapshot) Sandbox(id model.SandboxID) (model.Sandbox, bool) {
	return s.sandbox.Get([]byte(id))
}

// Sandboxes yields all sandboxes, ordered by ID.
func (s *Snapshot) Sandboxes() iter.Seq[model.Sandbox] { return values(s.sandbox) }

// SandboxOf returns the sandbox of a container.
func (s *Snapshot) SandboxOf(c model.ContainerID) (model.Sandbox, bool) {
	id, ok := s.index.Get(indexKey("container", string(c)))
	if !ok {
		return model.Sandbox{}, false
	}
	return s.Sandbox(model.SandboxID(id))
}

// SandboxOfGuest returns the sandbox of a namespace of somebody else's, wherever that
// was found.
func (s *Snapshot) SandboxOfGuest(g model.Guest) (model.Sandbox, bool) {
	id, ok := s.index.Get(indexKey(guestIndex(g)...))
	if !ok {
		return model.Sandbox{}, false
	}
	return s.Sandbox(model.SandboxID(id))
}

// Claimed yields the endpoints of guests that came by a door for one of its containers,
// ordered by ID.
func (s *Snapshot) Claimed(door, container string) iter.Seq[model.Endpoint] {
	return s.indexed("claim", door, container)
}

// Endpoint returns the endpoint with the given ID.
func (s *Snapshot) Endpoint(id model.EndpointID) (model.Endpoint, bool) {
	return s.endpoint.Get([]byte(id))
}

// Endpoints yields all endpoints, ordered by ID.
func (s *Snapshot) Endpoints() iter.Seq[model.Endpoint] { return values(s.endpoint) }

// EndpointsOf yields a sandbox's endpoints, ordered by ID.
func (s *Snapshot) EndpointsOf(id model.SandboxID) iter.Seq[model.Endpoint] {
	return s.indexed("sandbox", string(id))
}

// EndpointsInOrder returns a sandbox's endpoints in the order in which they joined.
func (s *Snapshot) EndpointsInOrder(id model.SandboxID) []model.Endpoint {
	return slices.SortedFunc(s.EndpointsOf(id), func(a, b model.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.ID, b.ID))
	})
}

// EndpointsOn yields a network's endpoints, ordered by ID.
func (s *Snapshot) EndpointsOn(id model.NetworkID) iter.Seq[model.Endpoint] {
	return s.indexed("network", string(id))
}

// EndpointAt returns the endpoint of a sandbox on a network.
func (s *Snapshot) EndpointAt(sandbox model.SandboxID, network model.NetworkID) (model.Endpoint, bool) {
	for e := range s.EndpointsOf(sandbox) {
		if e.Network == network {
			return e, true
		}
	}
	return model.Endpoint{}, false
}

// Holders yields the endpoints that hold or claim an address on a network.
func (s *Snapshot) Holders(network model.NetworkID, a netip.Addr) iter.Seq[model.Endpoint] {
	return s.indexed("address", string(network), a.String())
}

// MACHolders yields the endpoints that have or claim a MAC address on a network.
func (s *Snapshot) MACHolders(network model.NetworkID, mac string) iter.Seq[model.Endpoint] {
	return s.indexed("mac", string(network), mac)
}

// Cursor returns the address that was last given out on a network in family f;
// invalid if none was.
func (s *Snapshot) Cursor(network model.NetworkID, f model.Family) netip.Addr {
	a, _ := s.cursor.Get(cursorKey(network, f))
	return a
}

// indexed yields the endpoints to which the index entries below a key lead.
func (s *Snapshot) indexed(words ...string) iter.Seq[model.Endpoint] {
	return func(yield func(model.Endpoint) bool) {
		s.index.Root().WalkPrefix(indexKey(append(words, "")...), func(_ []byte, id string) bool {
			e, ok := s.Endpoint(model.EndpointID(id))
			return ok && !yield(e)
		})
	}
}

func values[T any](t *iradix.Tree[T]) iter.Seq[T] {
	return func(yield func(T) bool) {
		t.Root().Walk(func(_ []byte, v T) bool { return !yield(v) })
	}
}

func indexKey(words ...string) []byte { return []byte(strings.Join(words, "\x00")) }

func cursorKey(n model.NetworkID, f model.Family) []byte {
	return append([]byte(n), byte(f))
}
