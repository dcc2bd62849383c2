package plan

import (
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/state"
)

// OwnersOf returns whose rows may change when a fact takes the place of what was
// known of its owner. Compile may read no fact that is not considered here.
func OwnersOf(s *state.Snapshot, known facts.Set, learned facts.Fact) []desired.Owner {
	switch f := learned.(type) {
	case facts.Host:
		return ofHost(s, known.Host, f)
	case facts.Endpoint:
		return ofEndpoint(s, known.Endpoint(f.ID), f)
	case facts.Overlay:
		return ofOverlay(s, known.Overlay(f.ID), f)
	}
	return nil
}

// ofHost: how large packets may be concerns whatever drivers write; by which names
// the host is known concerns its own rows. All else serves the choices of ops still
// to come.
func ofHost(s *state.Snapshot, old, now facts.Host) []desired.Owner {
	if old.Packets != now.Packets {
		return All(s, nil) // parents' rows follow from nothing that is learned
	}
	if !slices.Equal(old.Addrs, now.Addrs) || !slices.Equal(old.MACs, now.MACs) {
		return []desired.Owner{desired.HostOwner}
	}
	return nil
}

// ofEndpoint: drivers write rows of the endpoint itself, and with it rows of its
// sandbox (published ports, links).
func ofEndpoint(s *state.Snapshot, old, now facts.Endpoint) []desired.Owner {
	e, ok := s.Endpoint(now.ID)
	if !ok || old == now {
		return nil
	}
	return []desired.Owner{desired.OwnerOf("endpoint", e.ID), desired.OwnerOf("sandbox", e.Sandbox)}
}

// ofOverlay: ways to other hosts are the network's; how large packets are is also its
// endpoints'.
func ofOverlay(s *state.Snapshot, old, now facts.Overlay) []desired.Owner {
	n, ok := s.Network(now.ID)
	if !ok {
		return nil
	}
	owners := []desired.Owner{desired.OwnerOf("network", now.ID)}
	if n.Encrypted() {
		owners = append(owners, desired.TunnelOwner)
	}
	if old.MTU != now.MTU {
		for e := range s.EndpointsOn(now.ID) {
			owners = append(owners, desired.OwnerOf("endpoint", e.ID))
		}
	}
	return owners
}

// All returns every owner of a snapshot; with drivers, also the parents that networks
// hang on.
func All(s *state.Snapshot, drivers driver.Set) []desired.Owner {
	owners := []desired.Owner{desired.HostOwner}
	for n := range s.Networks() {
		owners = append(owners, desired.OwnerOf("network", n.ID))
		parent, ok := drivers.ParentOf(n)
		if o := desired.OwnerOf("parent", parent); ok && !slices.Contains(owners, o) {
			owners = append(owners, o)
		}
		if n.Encrypted() && !slices.Contains(owners, desired.TunnelOwner) {
			owners = append(owners, desired.TunnelOwner)
		}
	}
	for sb := range s.Sandboxes() {
		owners = append(owners, desired.OwnerOf("sandbox", sb.ID))
	}
	for e := range s.Endpoints() {
		owners = append(owners, desired.OwnerOf("endpoint", e.ID))
	}
	return owners
}
