package convert

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"
)

// Network translates a network of the swarm's scope.
func Network(n *api.Network) swarm.Network {
	out := swarm.Network{
		ID: n.ID, Meta: metaOf(n.Meta),
		Spec: swarm.NetworkSpec{
			Annotations: annotationsOf(n.Spec.Annotations), DriverConfiguration: driverOf(n.Spec.DriverConfig),
			IPv6Enabled: n.Spec.Ipv6Enabled, Internal: n.Spec.Internal, Attachable: n.Spec.Attachable, Ingress: n.Spec.Ingress,
			IPAMOptions: ipamOf(n.Spec.IPAM), Scope: "swarm",
		},
		IPAMOptions: ipamOf(n.IPAM),
	}
	if d := n.DriverState; d != nil {
		out.DriverState = swarm.Driver{Name: d.Name, Options: d.Options}
	}
	if from := n.Spec.GetNetwork(); from != "" {
		out.Spec.ConfigFrom = &network.ConfigReference{Network: from}
	}
	return out
}

func ipamOf(i *api.IPAMOptions) *swarm.IPAMOptions {
	if i == nil {
		return nil
	}
	out := &swarm.IPAMOptions{Configs: each(i.Configs, func(c *api.IPAMConfig) swarm.IPAMConfig {
		gateway, _ := netip.ParseAddr(c.Gateway)
		return swarm.IPAMConfig{Subnet: prefixOf(c.Subnet).Masked(), Range: prefixOf(c.Range).Masked(), Gateway: gateway.Unmap()}
	})}
	if i.Driver != nil {
		out.Driver = swarm.Driver{Name: i.Driver.Name, Options: i.Driver.Options}
	}
	return out
}

// prefixOf reads what a manager has stored; none if it is none.
func prefixOf(text string) netip.Prefix {
	p, _ := netip.ParsePrefix(text)
	return p
}

func attachmentOf(a *api.NetworkAttachment) (out swarm.NetworkAttachment) {
	if a == nil {
		return out
	}
	if a.Network != nil {
		out.Network = Network(a.Network)
	}
	out.Addresses = each(a.Addresses, prefixOf)
	return out
}

func networkConfigOf(n *api.NetworkAttachmentConfig) swarm.NetworkAttachmentConfig {
	return swarm.NetworkAttachmentConfig{Target: n.Target, Aliases: n.Aliases, DriverOpts: n.DriverAttachmentOpts}
}

func endpointOf(e *api.Endpoint) (out swarm.Endpoint) {
	if e == nil {
		return out
	}
	if s := endpointSpecOf(e.Spec); s != nil {
		out.Spec = *s
	}
	out.Ports = each(e.Ports, portOf)
	out.VirtualIPs = each(e.VirtualIPs, func(v *api.Endpoint_VirtualIP) swarm.EndpointVirtualIP {
		return swarm.EndpointVirtualIP{NetworkID: v.NetworkID, Addr: prefixOf(v.Addr)}
	})
	return out
}

func endpointSpecOf(s *api.EndpointSpec) *swarm.EndpointSpec {
	if s == nil {
		return nil
	}
	return &swarm.EndpointSpec{Mode: resolutionModes.docker(s.Mode), Ports: each(s.Ports, portOf)}
}

var resolutionModes = pairs[swarm.ResolutionMode, api.EndpointSpec_ResolutionMode]{
	{swarm.ResolutionModeVIP, api.ResolutionModeVirtualIP}, {swarm.ResolutionModeDNSRR, api.ResolutionModeDNSRoundRobin},
}

func endpointSpec(s *swarm.EndpointSpec) (*api.EndpointSpec, error) {
	if s == nil {
		return nil, nil
	}
	mode, ok := resolutionModes.swarmkit(s.Mode)
	if !ok {
		return nil, fmt.Errorf("invalid resolution mode: %q", s.Mode)
	}
	return &api.EndpointSpec{Mode: mode, Ports: each(s.Ports, func(p swarm.PortConfig) *api.PortConfig {
		return &api.PortConfig{
			Name: p.Name, TargetPort: p.TargetPort, PublishedPort: p.PublishedPort,
			// as Docker does it: what is unknown is TCP, and by ingress
			Protocol:    api.PortConfig_Protocol(api.PortConfig_Protocol_value[strings.ToUpper(string(p.Protocol))]),
			PublishMode: api.PortConfig_PublishMode(api.PortConfig_PublishMode_value[strings.ToUpper(string(p.PublishMode))]),
		}
	})}, nil
}

func portOf(p *api.PortConfig) swarm.PortConfig {
	return swarm.PortConfig{
		Name: p.Name, TargetPort: p.TargetPort, PublishedPort: p.PublishedPort,
		Protocol:    network.IPProtocol(strings.ToLower(p.Protocol.String())),
		PublishMode: swarm.PortConfigPublishMode(strings.ToLower(p.PublishMode.String())),
	}
}
