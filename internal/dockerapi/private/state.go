package private

import (
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/networks"
	"github.com/linkspan/linkspan/internal/privateapi"
	"github.com/linkspan/linkspan/internal/state"
)

// stateAnswer answers with what package privateapi calls State.
func (d *server) stateAnswer(*http.Request) (any, error) {
	s := d.Engine.Snapshot()
	v := d.viewOf(s)
	out := privateapi.State{
		Version: privateapi.StateVersion, Revision: s.Revision, Daemon: d.Daemon,
		Networks: []privateapi.Network{}, Containers: []privateapi.Container{},
	}
	for _, n := range networks.ByAge(s) {
		out.Networks = append(out.Networks, v.network(n))
	}
	for sb := range s.Sandboxes() {
		out.Containers = append(out.Containers, v.container(sb))
	}
	slices.SortFunc(out.Containers, func(a, b privateapi.Container) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// containerAnswer answers with one container, by its name or ID.
func (d *server) containerAnswer(r *http.Request) (any, error) {
	if d.Containers == nil {
		return nil, model.Errorf(model.NotImplemented, "containers are not known here")
	}
	c, err := d.Containers.Inspect(r.Context(), r.PathValue("container"))
	if err != nil {
		return nil, err
	}
	s, owner := d.Engine.Snapshot(), c.ID
	if c.HostConfig != nil {
		if other, shares := strings.CutPrefix(string(c.HostConfig.NetworkMode), "container:"); shares {
			if of, err := d.Containers.Inspect(r.Context(), other); err == nil {
				owner = of.ID
			}
		}
	}
	out := privateapi.Container{}
	if sb, ok := s.SandboxOf(model.ContainerID(owner)); ok {
		out = d.viewOf(s).container(sb)
	}
	if owner != c.ID {
		out.SharesNetwork = owner
	}
	out.ID, out.Name, out.ResolvConf, out.Hosts = c.ID, strings.TrimPrefix(c.Name, "/"), c.ResolvConfPath, c.HostsPath
	if c.State != nil {
		stateOf(c.State, &out)
	}
	return out, nil
}

func stateOf(from *container.State, out *privateapi.Container) {
	out.State, out.ExitCode = string(from.Status), from.ExitCode
	if at, err := time.Parse(time.RFC3339Nano, from.StartedAt); err == nil && !at.IsZero() {
		out.StartedAt = &at
	}
}

// stateView is a snapshot with what the plan says besides.
type stateView struct {
	state       *state.Snapshot
	drivers     driver.Set
	masquerades map[string]bool // by bridge
	servers     map[string][]netip.Addr
	plan        desired.State
}

func (d *server) viewOf(s *state.Snapshot) stateView {
	plan := d.Engine.Plan()
	v := stateView{s, d.Drivers, map[string]bool{}, map[string][]netip.Addr{}, plan}
	for o := range plan.Kind(desired.KindPolicy) {
		if m, ok := o.Row.(desired.Masquerade); ok {
			v.masquerades[m.Bridge] = true
		}
	}
	for o := range plan.Kind(desired.KindResolver) {
		if r, ok := o.Row.(desired.Resolver); ok {
			v.servers[r.Namespace] = r.Servers
		}
	}
	return v
}

func (v stateView) network(n model.Network) privateapi.Network {
	out := privateapi.Network{ID: string(n.ID), Name: n.Name, Driver: n.Driver, Internal: n.Internal, Named: v.drivers.Named(n), Options: n.Options}
	out.Device, _ = v.drivers.Device(n)
	out.Masquerades = v.masquerades[out.Device]
	out.MTU, _ = driver.MTU(n) // refused when it was created
	own := apartOf(v.plan, n.ID)
	out.Namespace, out.Services, out.Peers, out.Largest = own.namespace, own.services, own.peers, own.largest(n)
	for _, p := range n.IPAM.Pools {
		out.Subnets = append(out.Subnets, privateapi.Subnet{Subnet: p.Subnet, Gateway: p.Gateway})
	}
	return out
}

func (v stateView) container(sb model.Sandbox) privateapi.Container {
	out := privateapi.Container{ID: string(sb.Container), Name: sb.Name, Up: sb.Up}
	name := model.NamespaceOf(sb.Container)
	if sb.Mode == model.SandboxOwn {
		out.Namespace = filepath.Join(model.NetnsDir, name)
	}
	out.Servers = v.servers[name]
	for _, e := range v.state.EndpointsInOrder(sb.ID) {
		if n, ok := v.state.Network(e.Network); ok && !e.WayOut {
			out.Networks = append(out.Networks, v.member(sb, e, n))
		}
	}
	if sb.Up {
		for _, b := range sb.Ports {
			out.Ports = append(out.Ports, privateapi.Binding{Protocol: string(b.Protocol), Host: b.Host, HostPort: b.HostFirst, ContainerPort: b.Container.First, Count: b.Container.Len()})
		}
		return out
	}
	for _, p := range sb.Publish {
		if p.Fixed() {
			out.Ports = append(out.Ports, privateapi.Binding{Protocol: string(p.Protocol), Host: p.Host, HostPort: p.HostPorts.First, ContainerPort: p.Container.First, Count: p.Container.Len()})
		}
	}
	return out
}

func (v stateView) member(sb model.Sandbox, e model.Endpoint, n model.Network) privateapi.Member {
	out := privateapi.Member{Network: n.Name, NetworkID: string(n.ID), Interface: e.Interface, MAC: e.MAC, Up: e.Up, Addresses: []privateapi.Address{}}
	if v.drivers.Named(n) {
		out.Names = model.DNSNames(sb, e)
	}
	if a, ok := v.drivers.AttachedTo(v.state, e); ok {
		out.Port = a.Port
		out.Bridge, _ = v.drivers.Device(n)
	}
	for _, f := range model.Families {
		addr := e.Address(f)
		if pool, ok := n.PoolOf(addr); ok {
			out.Addresses = append(out.Addresses, privateapi.Address{Address: netip.PrefixFrom(addr, pool.Subnet.Bits()), Gateway: pool.Gateway})
		}
	}
	return out
}
