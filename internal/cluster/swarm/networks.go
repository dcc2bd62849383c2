package swarm

import (
	"context"
	"net/netip"
	"slices"
	"time"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/manager/allocator/networkallocator"

	"github.com/linkspan/linkspan/internal/model"
)

// allocateTimeout bounds how long a new network waits for its subnet.
const (
	allocateTimeout = 5 * time.Second
	allocatePause   = 10 * time.Millisecond
)

// NetworkOf translates a network of the swarm. Errors: what was stored by something else
// than our allocator.
func NetworkOf(n *api.Network) (model.Network, error) {
	created, err := gogotypes.TimestampFromProto(n.Meta.CreatedAt)
	if err != nil {
		created = time.Time{}
	}
	out := model.Network{
		ID: model.NetworkID(n.ID), Name: n.Spec.Annotations.Name, Scope: model.ScopeSwarm, Created: created, IPv4: true, IPv6: n.Spec.Ipv6Enabled,
		Internal: n.Spec.Internal, Attachable: n.Spec.Attachable, Ingress: networkallocator.IsIngressNetwork(n),
		ConfigFrom: n.Spec.GetNetwork(), Labels: n.Spec.Annotations.Labels,
	}
	if d := n.DriverState; d != nil {
		out.Driver, out.Options = d.Name, d.Options
	}
	if out.IPAM, err = ipamOf(n.IPAM); err != nil {
		return model.Network{}, err
	}
	return out, nil
}

// ipamOf translates where a network's addresses come from.
func ipamOf(o *api.IPAMOptions) (out model.IPAM, err error) {
	if o == nil {
		return out, nil
	}
	if o.Driver != nil {
		out.Driver, out.Options = o.Driver.Name, o.Driver.Options
	}
	for _, c := range o.Configs {
		var p model.Pool
		if p.Subnet, err = netip.ParsePrefix(c.Subnet); err != nil {
			return out, model.Errorf(model.Internal, "subnet of a network: %w", err)
		}
		if c.Range != "" {
			if p.Range, err = netip.ParsePrefix(c.Range); err != nil {
				return out, model.Errorf(model.Internal, "range of a network: %w", err)
			}
		}
		if c.Gateway != "" {
			if p.Gateway, err = netip.ParseAddr(c.Gateway); err != nil {
				return out, model.Errorf(model.Internal, "gateway of a network: %w", err)
			}
		}
		for name, text := range c.Reserved {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return out, model.Errorf(model.Internal, "reserved address of a network: %w", err)
			}
			if p.Aux == nil {
				p.Aux = map[string]netip.Addr{}
			}
			p.Aux[name] = a
		}
		out.Pools = append(out.Pools, p)
	}
	return out, nil
}

// specOf translates a network that is to be made.
func specOf(n model.Network) *api.NetworkSpec {
	out := &api.NetworkSpec{
		Annotations:  api.Annotations{Name: n.Name, Labels: n.Labels},
		DriverConfig: &api.Driver{Name: n.Driver, Options: n.Options},
		Ipv6Enabled:  n.IPv6, Internal: n.Internal, Attachable: n.Attachable, Ingress: n.Ingress,
	}
	if n.IPAM.Driver != "" || len(n.IPAM.Options) > 0 || len(n.IPAM.Pools) > 0 {
		name := n.IPAM.Driver
		if name == "" {
			name = "default"
		}
		out.IPAM = &api.IPAMOptions{Driver: &api.Driver{Name: name, Options: n.IPAM.Options}}
	}
	for _, p := range n.IPAM.Pools {
		c := &api.IPAMConfig{Subnet: text(p.Subnet), Range: text(p.Range), Gateway: text(p.Gateway)}
		for name, a := range p.Aux {
			if c.Reserved == nil {
				c.Reserved = map[string]string{}
			}
			c.Reserved[name] = a.String()
		}
		out.IPAM.Configs = append(out.IPAM.Configs, c)
	}
	if n.ConfigFrom != "" {
		out.ConfigFrom = &api.NetworkSpec_Network{Network: n.ConfigFrom}
	}
	return out
}

// text writes an address or a prefix; empty for none.
func text[T interface {
	IsValid() bool
	String() string
}](a T) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// Networks returns the networks of the swarm, but for those that stand for each host's
// own.
func (n *Node) Networks(ctx context.Context) (out []model.Network, err error) {
	err = n.Manage(ctx, func(ctx context.Context, m Manager) error {
		r, err := m.ListNetworks(ctx, &api.ListNetworksRequest{}, Whole)
		if err != nil {
			return err
		}
		for _, one := range r.Networks {
			if one.Spec.Annotations.Labels[networkallocator.PredefinedLabel] == "true" {
				continue
			}
			shown, err := NetworkOf(one)
			if err != nil {
				return err
			}
			out = append(out, shown)
		}
		return nil
	})
	return out, err
}

// CreateNetwork makes a network and returns it with its subnet. Errors: those of
// swarmkit; Forbidden for a subnet that another network of the swarm has.
func (n *Node) CreateNetwork(ctx context.Context, wanted model.Network) (out model.Network, err error) {
	others, err := n.Networks(ctx)
	if err != nil {
		return out, err
	}
	if err := disjoint(wanted, others); err != nil {
		return out, err
	}
	err = n.Manage(ctx, func(ctx context.Context, m Manager) error {
		r, err := m.ControlClient.CreateNetwork(ctx, &api.CreateNetworkRequest{Spec: specOf(wanted)})
		if err != nil {
			return err
		}
		made, err := m.allocated(ctx, r.Network)
		if err != nil {
			return err
		}
		out, err = NetworkOf(made)
		return err
	})
	return out, err
}

// disjoint refuses a subnet that another network of the swarm has. Swarmkit would take
// the network, and never give it to anybody.
func disjoint(wanted model.Network, others []model.Network) error {
	for i, p := range wanted.IPAM.Pools {
		if !p.Subnet.IsValid() || p.Subnet.Addr().IsUnspecified() {
			continue
		}
		for _, other := range others {
			for _, q := range other.IPAM.Pools {
				if q.Subnet.Overlaps(p.Subnet) {
					e := model.Errorf(model.Forbidden, "invalid pool request: Pool overlaps with other one on this address space")
					e.Who = q.Subnet.String() + " belongs to network " + other.Name
					return e
				}
			}
		}
		if slices.ContainsFunc(wanted.IPAM.Pools[:i], func(q model.Pool) bool { return q.Subnet.IsValid() && q.Subnet.Overlaps(p.Subnet) }) {
			return model.Errorf(model.Forbidden, "invalid pool request: Pool overlaps with other one on this address space")
		}
	}
	return nil
}

// allocated waits until a network has what it needs. One that gets nothing is removed.
func (m Manager) allocated(ctx context.Context, n *api.Network) (*api.Network, error) {
	limit, cancel := context.WithTimeout(ctx, allocateTimeout)
	defer cancel()
	for n.DriverState == nil {
		timer := time.NewTimer(allocatePause)
		select {
		case <-timer.C:
		case <-limit.Done():
			timer.Stop()
			if _, err := m.ControlClient.RemoveNetwork(ctx, &api.RemoveNetworkRequest{NetworkID: n.ID}); err != nil {
				return nil, err
			}
			return nil, model.Errorf(model.Unfit, "the swarm has no subnet for network %s: the log of the leading manager says why", n.Spec.Annotations.Name)
		}
		r, err := m.GetNetwork(ctx, &api.GetNetworkRequest{NetworkID: n.ID})
		if err != nil {
			return nil, err
		}
		n = r.Network
	}
	return n, nil
}

// RemoveNetwork removes a network that no task is on.
func (n *Node) RemoveNetwork(ctx context.Context, id model.NetworkID) error {
	return n.Manage(ctx, func(ctx context.Context, m Manager) error {
		_, err := m.ControlClient.RemoveNetwork(ctx, &api.RemoveNetworkRequest{NetworkID: string(id)})
		return err
	})
}
