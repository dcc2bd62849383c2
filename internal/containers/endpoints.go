package containers

import (
	"maps"
	"slices"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// endpointSpecs returns the memberships that a container is created with: those
// given, that of its mode first, the others by name; without any the network of its
// mode. As with Docker a mode does not add a network to those given.
func (cr *creator) endpointSpecs(r record, asked CreateRequest) []ops.EndpointSpec {
	given := map[string]*network.EndpointSettings{}
	if asked.Networking != nil {
		given = asked.Networking.EndpointsConfig
	}
	// The mode and a membership may name one network in two ways, by name and by ID.
	s, first := cr.engine.Snapshot(), string(r.mode())
	id := func(ref string) string {
		if n, err := s.FindNetwork(ref); err == nil {
			return string(n.ID)
		}
		return ref
	}
	if len(given) == 0 {
		return []ops.EndpointSpec{newEndpoint(first, nil)}
	}
	names := slices.Sorted(maps.Keys(given))
	if i := slices.IndexFunc(names, func(name string) bool { return id(name) == id(first) }); i > 0 {
		main := names[i]
		names = slices.Insert(slices.Delete(names, i, i+1), 0, main)
	}
	var out []ops.EndpointSpec
	for _, name := range names {
		one := newEndpoint(name, given[name])
		if asked.Task != nil {
			one.Service, one.Given = asked.Task.Services[name], asked.Task.Given[name]
		}
		out = append(out, one)
	}
	return out
}

// newEndpoint translates one membership; settings may be nil.
func newEndpoint(networkRef string, s *network.EndpointSettings) ops.EndpointSpec {
	return containerspec.EndpointSpec(model.EndpointID(ids.New()), networkRef, s)
}
