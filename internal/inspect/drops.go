package inspect

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Drop is what port security has dropped of one kind from one container.
type Drop struct {
	driver.Attached
	facts.PortDrops
}

// dropsOf returns who sent what was dropped, ordered by container and network; kinds
// as they are read. Ports that are gone are left out.
func dropsOf(s *state.Snapshot, drivers driver.Set, drops []facts.PortDrops) (out []Drop) {
	if len(drops) == 0 {
		return nil
	}
	ports := drivers.ByPort(s)
	for _, d := range drops {
		if a, ok := ports[d.Port]; ok {
			out = append(out, Drop{a, d})
		}
	}
	slices.SortStableFunc(out, func(a, b Drop) int {
		return cmp.Or(cmp.Compare(a.Sandbox.Name, b.Sandbox.Name), cmp.Compare(a.Network.Name, b.Network.Name), cmp.Compare(a.Endpoint.ID, b.Endpoint.ID))
	})
	return out
}

// Endpoint is a membership, with what holds for its port on the host as it stands in
// the plan.
type Endpoint struct {
	driver.Attached
	Addresses []netip.Addr // it may speak as
	Effective string       // how far it is believed: "pinned", "capable" or "unchecked"; empty if it has no policy
	Dropped   []facts.PortDrops
}

// Endpoints returns what port security knows of one container, by its name or ID.
// Errors: NotFound.
func (r *Reader) Endpoints(ctx context.Context, ref string) ([]Endpoint, error) {
	s := r.o.Engine.Snapshot()
	sb, err := r.sandbox(ctx, s, ref)
	if err != nil {
		return nil, err
	}
	t, err := r.counters(ctx)
	if err != nil {
		return nil, err
	}
	var out []Endpoint
	for e := range s.EndpointsOf(sb.ID) {
		if a, ok := r.o.Drivers.AttachedTo(s, e); ok {
			out = append(out, r.endpoint(a, t.Drops))
		}
	}
	return out, nil
}

// endpoint says what holds for a port: its policy as it stands in the plan.
func (r *Reader) endpoint(a driver.Attached, drops []facts.PortDrops) Endpoint {
	out := Endpoint{Attached: a}
	if row, ok := r.o.Engine.Plan().Get(desired.PortSecurity{Port: a.Port}.Key()); ok {
		secured, _ := row.Row.(desired.PortSecurity)
		out.Addresses, out.Effective = secured.Addrs, cmp.Or(string(secured.Mode), "pinned")
	}
	for _, x := range drops {
		if x.Port == a.Port {
			out.Dropped = append(out.Dropped, x)
		}
	}
	return out
}

// Sandbox returns the network life of a container, by its name or ID. Errors: NotFound.
func (r *Reader) Sandbox(ctx context.Context, ref string) (model.Sandbox, error) {
	return r.sandbox(ctx, r.o.Engine.Snapshot(), ref)
}

func (r *Reader) sandbox(ctx context.Context, s *state.Snapshot, ref string) (model.Sandbox, error) {
	if r.o.Containers != nil {
		c, err := r.o.Containers.Inspect(ctx, ref)
		if err != nil {
			return model.Sandbox{}, err
		}
		ref = c.ID
	}
	if sb, ok := s.SandboxOf(model.ContainerID(ref)); ok {
		return sb, nil
	}
	return model.Sandbox{}, model.Errorf(model.NotFound, "container %s has no network of its own", ref)
}
