package source

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/plugins/netplugin"
)

// Keys of options that drivers are told of endpoints.
const (
	optionPortMap = "com.docker.network.portmap"
	optionExposed = "com.docker.network.endpoint.exposedports"
	optionDNS     = "com.docker.network.endpoint.dnsservers"
	optionNo6To4  = "com.docker.network.driver.private.no_proxy_6to4"
)

// askEndpoint has plugins put an endpoint on its network. If it cannot be, they hold
// nothing of it.
func (s *Source) askEndpoint(ctx context.Context, q facts.Question) (_ facts.Fact, err error) {
	if old, there := s.journal.endpoint(q.Endpoint.ID); there {
		if err := s.endpointBack(ctx, old); err != nil {
			return nil, err
		}
	}
	e := endpoint{
		Network: q.Network.ID, Driver: s.driver(q.Network), IPAM: s.ipam(q.Network), Name: q.Sandbox.Name, Publish: q.Sandbox.Publish,
		Fact: facts.Endpoint{ID: q.Endpoint.ID, MAC: q.Endpoint.MAC},
	}
	n, there := s.journal.network(q.Network.ID)
	if !there {
		return nil, &model.Error{Kind: model.Unfit, Err: fmt.Errorf("network %s is not known to its plugins", q.Network.Name),
			Way: "remove the network and create it anew"}
	}
	if err := s.journal.putEndpoint(e); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.Leaving = true
			err = errors.Join(err, s.journal.putEndpoint(e))
			_ = s.orOwed(s.endpointBack(context.WithoutCancel(ctx), e)) //nolint:errcheck // it is always nil
		}
	}()
	if e.IPAM != "" {
		if err := s.requestAddresses(ctx, &e, n, q); err != nil {
			return nil, err
		}
	} else {
		e.Fact.Addr4, e.Fact.Addr6 = n.prefix(q.Endpoint.Addr4), n.prefix(q.Endpoint.Addr6)
	}
	if e.Driver != "" {
		if err := s.join(ctx, &e, n, q); err != nil {
			return nil, err
		}
	}
	e.Complete = true
	return e.Fact, s.journal.putEndpoint(e)
}

// prefix returns an address with the length of its subnet.
func (n network) prefix(a netip.Addr) netip.Prefix {
	for _, p := range n.Pools {
		if a.IsValid() && p.Subnet.Contains(a) {
			return netip.PrefixFrom(a, p.Subnet.Bits())
		}
	}
	return netip.Prefix{}
}

// requestAddresses asks for an endpoint's addresses.
func (s *Source) requestAddresses(ctx context.Context, e *endpoint, n network, q facts.Question) error {
	i, err := s.asIPAM(ctx, e.IPAM)
	if err != nil {
		return err
	}
	c, err := i.Capabilities(ctx)
	if err != nil {
		return err
	}
	options := map[string]string{netplugin.OptionEndpointName: q.Sandbox.Name}
	if c.NeedsMAC {
		if e.Fact.MAC == "" {
			if e.Fact.MAC, err = randomMAC(); err != nil {
				return err
			}
		}
		options[netplugin.OptionMAC] = e.Fact.MAC
	}
	for _, f := range q.Families {
		if err := e.requestAddress(ctx, i, n, addressWish{f, q.Endpoint.Address(f), options}); err != nil {
			return err
		}
		if err := s.journal.putEndpoint(*e); err != nil {
			return err
		}
	}
	return nil
}

// addressWish is an address of family that is wanted: a certain one if it is valid.
type addressWish struct {
	family  model.Family
	addr    netip.Addr
	options map[string]string
}

// requestAddress asks for an address of family f: of the first subnet that it can be of.
func (e *endpoint) requestAddress(ctx context.Context, i netplugin.IPAM, n network, w addressWish) error {
	f, wanted := w.family, w.addr
	for _, p := range n.Pools {
		if model.FamilyOf(p.Subnet.Addr()) != f || wanted.IsValid() && !p.Subnet.Contains(wanted) {
			continue
		}
		got, err := i.RequestAddress(ctx, p.ID, wanted, w.options)
		if err != nil {
			return err
		}
		e.Leases = append(e.Leases, lease{p.ID, got.Addr()})
		if model.FamilyOf(got.Addr()) != f {
			return model.Errorf(model.Unfit, "the plugin's answer is not an IPv%d address: %s", f, got)
		}
		if f == model.IPv4 {
			e.Fact.Addr4 = got
		} else {
			e.Fact.Addr6 = got
		}
		return nil
	}
	if wanted.IsValid() {
		return model.Errorf(model.Invalid, "invalid address %s: It does not belong to any of this network's subnets", wanted)
	}
	return model.Errorf(model.Unfit, "no IPv%d information available for endpoint %s", f, e.Name)
}

// randomMAC draws a unicast, locally administered MAC address.
func randomMAC() (string, error) {
	mac := make(net.HardwareAddr, 6)
	if _, err := rand.Read(mac); err != nil {
		return "", err
	}
	mac[0] = mac[0]&^1 | 2
	return mac.String(), nil
}

// join has the network's driver make an endpoint and put it into its container.
func (s *Source) join(ctx context.Context, e *endpoint, n network, q facts.Question) error {
	d, err := s.asDriver(ctx, e.Driver)
	if err != nil {
		return err
	}
	at := netplugin.EndpointAt{NetworkID: e.Network, EndpointID: e.Fact.ID}
	e.Made = true
	if err := s.journal.putEndpoint(*e); err != nil {
		return err
	}
	has := netplugin.Interface{Addr4: e.Fact.Addr4, Addr6: e.Fact.Addr6, MAC: e.Fact.MAC}
	got, err := d.CreateEndpoint(ctx, at, has, e.createOptions(q))
	if netplugin.Refused(err) && s.remind(ctx, d, n) {
		got, err = d.CreateEndpoint(ctx, at, has, e.createOptions(q))
	}
	if err != nil {
		e.Made = !netplugin.Refused(err)
		return err
	}
	e.Fact.Addr4, e.Fact.Addr6, e.Fact.MAC = got.Addr4, got.Addr6, got.MAC
	e.Joined = true
	if err := s.journal.putEndpoint(*e); err != nil {
		return err
	}
	j, err := d.Join(ctx, at, path.Join(model.NetnsDir, model.NamespaceOf(q.Sandbox.Container)), e.ports())
	if err != nil {
		e.Joined = !netplugin.Refused(err)
		return err
	}
	e.Fact.Gateway4 = j.Gateway4
	if e.Fact.Addr6.IsValid() { // of a container without IPv6 nobody leads anywhere in it
		e.Fact.Gateway6 = j.Gateway6
	}
	e.Fact.Joined = &facts.Joined{Link: j.Link, Prefix: j.Prefix, Routes: j.Routes, Alone: j.Alone}
	info, err := d.EndpointInfo(ctx, at)
	s.log.Debug("endpoint joined", "op", "plugin.join", "plugin", e.Driver, "endpoint", model.Short(e.Fact.ID), "link", j.Link, "info", info, "err", err)
	return nil
}

// remind tells a driver of a network again that it was told of before, and tells whether
// it took it: it may have forgotten it since, such as in a reboot. One that knows it
// refuses.
func (s *Source) remind(ctx context.Context, d netplugin.Driver, n network) bool {
	err := d.CreateNetwork(ctx, n.new())
	if err == nil {
		s.log.Warn("a plugin had forgotten a network, and was told again", "op", "plugin.remind", "plugin", n.Driver, "network", n.Record.Name)
	}
	return err == nil
}

// createOptions are an endpoint's as its driver is told them.
func (e endpoint) createOptions(q facts.Question) netplugin.Options {
	out := e.ports()
	for key, value := range q.Endpoint.DriverOpts {
		out.Put(key, value)
	}
	if q.Endpoint.StaticMAC {
		if mac, err := net.ParseMAC(q.Endpoint.MAC); err == nil {
			out.Put(netplugin.OptionMAC, []byte(mac)) // base64 in JSON, as Docker has it
		}
	}
	if len(q.Sandbox.DNS.Servers) > 0 && !q.Network.Internal {
		var servers []string
		for _, a := range q.Sandbox.DNS.Servers {
			servers = append(servers, a.String())
		}
		out.Put(optionDNS, servers)
	}
	return out
}

// portBinding and exposedPort are published ports as drivers are told of them.
type portBinding struct {
	Proto       uint8
	IP          string
	Port        uint16
	HostIP      string
	HostPort    uint16
	HostPortEnd uint16
}

type exposedPort struct {
	Proto uint8
	Port  uint16
}

// ports are what a container publishes, as drivers are told of it.
func (e endpoint) ports() netplugin.Options {
	bindings, exposed := []portBinding{}, []exposedPort{}
	for _, spec := range e.Publish {
		host := ""
		if spec.Host.IsValid() {
			host = spec.Host.String()
		}
		for i := range spec.Container.Len() {
			b := portBinding{
				Proto: spec.Protocol.Number(), Port: spec.Container.First + uint16(i), HostIP: host,
				HostPort: spec.HostPorts.First, HostPortEnd: spec.HostPorts.Last,
			}
			if spec.Fixed() {
				b.HostPort += uint16(i)
				b.HostPortEnd = b.HostPort
			}
			bindings, exposed = append(bindings, b), append(exposed, exposedPort{b.Proto, b.Port})
		}
	}
	out := netplugin.Options{}
	out.Put(optionPortMap, bindings)
	out.Put(optionExposed, exposed)
	return out
}

// askOutward tells the driver of an endpoint whether its container leaves by it.
func (s *Source) askOutward(ctx context.Context, q facts.Question) (facts.Fact, error) {
	e, there := s.journal.endpoint(q.Endpoint.ID)
	if !there || e.Leaving || e.Fact.Joined == nil {
		return nil, model.Errorf(model.Unfit, "remote network driver: endpoint %s not found", q.Endpoint.ID)
	}
	e.Publish = q.Sandbox.Publish
	err := s.outward(ctx, &e, *q.Outward)
	switch {
	case err != nil && !q.Lenient:
		return nil, model.Errorf(model.KindOf(err), "driver failed programming external connectivity on endpoint %s (%s): %w", e.Name, e.Fact.ID, err)
	case err != nil:
		s.log.Warn("a plugin was not told by which network a container leaves", "op", "plugin.outward", "plugin", e.Driver, "container", e.Name, "err", err)
	}
	joined := *e.Fact.Joined
	joined.Outward = *q.Outward
	e.Fact.Joined = &joined
	return e.Fact, s.journal.putEndpoint(e)
}

// outward makes the calls that lead from what a driver was told to what it is to know.
func (s *Source) outward(ctx context.Context, e *endpoint, to facts.Outward) error {
	d, err := s.asDriver(ctx, e.Driver)
	if err != nil {
		return err
	}
	at := netplugin.EndpointAt{NetworkID: e.Network, EndpointID: e.Fact.ID}
	if !to.Gateway4 && !to.Gateway6 {
		if !e.Told {
			return nil
		}
		e.Told = false
		return d.Revoke(ctx, at)
	}
	e.Told = true
	options := e.ports()
	if to.Gateway6Elsewhere {
		options.Put(optionNo6To4, true)
	}
	return d.Program(ctx, at, options)
}

// restore tells a driver again what it knew before it was told f, for which there is no
// reason any more.
func (s *Source) restore(ctx context.Context, f, before facts.Endpoint) error {
	e, there := s.journal.endpoint(f.ID)
	if !there || e.Leaving || e.Fact.Joined == nil || e.Fact.Joined.Outward == before.Joined.Outward {
		return nil
	}
	err := s.outward(ctx, &e, before.Joined.Outward)
	e.Fact = before
	return errors.Join(err, s.journal.putEndpoint(e))
}

// endpointBackAlone is endpointBack for who does not have the endpoint's lock.
func (s *Source) endpointBackAlone(ctx context.Context, id model.EndpointID) error {
	unlock, err := s.locks.lock(ctx, string(facts.Endpoint{ID: id}.Owner()))
	if err != nil {
		return err
	}
	defer unlock()
	e, there := s.journal.endpoint(id)
	if !there || !e.Leaving {
		return nil
	}
	return s.endpointBack(ctx, e)
}

// endpointBack has plugins let go of an endpoint. What has been given back is noted, so
// that it is not again. The caller has its lock.
func (s *Source) endpointBack(ctx context.Context, e endpoint) error {
	id := string(e.Fact.ID)
	if e.Driver != "" && (e.Made || e.Joined) {
		d, err := s.asDriver(ctx, e.Driver)
		if err != nil {
			return fmt.Errorf("container %s: %w", e.Name, err)
		}
		at := netplugin.EndpointAt{NetworkID: e.Network, EndpointID: e.Fact.ID}
		for _, step := range []struct {
			what string
			due  *bool
			call func(context.Context, netplugin.EndpointAt) error
		}{{"RevokeExternalConnectivity", &e.Told, d.Revoke}, {"Leave", &e.Joined, d.Leave}, {"DeleteEndpoint", &e.Made, d.DeleteEndpoint}} {
			if !*step.due {
				continue
			}
			if err := s.tell(step.what, id, step.call(ctx, at)); err != nil {
				return fmt.Errorf("container %s: %w", e.Name, err)
			}
			*step.due = false
			if err := s.journal.putEndpoint(e); err != nil {
				return err
			}
		}
	}
	if e.IPAM != "" && len(e.Leases) > 0 {
		i, err := s.asIPAM(ctx, e.IPAM)
		if err != nil {
			return fmt.Errorf("container %s: %w", e.Name, err)
		}
		for len(e.Leases) > 0 {
			if err := s.tell("ReleaseAddress", id, i.ReleaseAddress(ctx, e.Leases[0].Pool, e.Leases[0].Addr)); err != nil {
				return fmt.Errorf("container %s: %w", e.Name, err)
			}
			e.Leases = e.Leases[1:]
			if err := s.journal.putEndpoint(e); err != nil {
				return err
			}
		}
	}
	return s.journal.dropEndpoint(e.Fact.ID)
}
