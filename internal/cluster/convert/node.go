package convert

import (
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"
)

// Node translates a node.
func Node(n *api.Node) swarm.Node {
	out := swarm.Node{
		ID: n.ID, Meta: metaOf(n.Meta),
		Spec: swarm.NodeSpec{
			Annotations:  annotationsOf(n.Spec.Annotations),
			Role:         swarm.NodeRole(strings.ToLower(n.Spec.DesiredRole.String())),
			Availability: swarm.NodeAvailability(strings.ToLower(n.Spec.Availability.String())),
		},
		Status: swarm.NodeStatus{State: swarm.NodeState(strings.ToLower(n.Status.State.String())), Message: n.Status.Message, Addr: n.Status.Addr},
	}
	if n.Description != nil {
		out.Description = descriptionOf(n.Description)
	}
	if m := n.ManagerStatus; m != nil {
		out.ManagerStatus = &swarm.ManagerStatus{Leader: m.Leader, Reachability: swarm.Reachability(strings.ToLower(m.Reachability.String())), Addr: m.Addr}
	}
	return out
}

// descriptionOf translates what a node says of itself.
func descriptionOf(d *api.NodeDescription) swarm.NodeDescription {
	out := swarm.NodeDescription{Hostname: d.Hostname}
	if p := d.Platform; p != nil {
		out.Platform = swarm.Platform{Architecture: p.Architecture, OS: p.OS}
	}
	if r := d.Resources; r != nil {
		out.Resources.NanoCPUs, out.Resources.MemoryBytes = r.NanoCPUs, r.MemoryBytes
	}
	if e := d.Engine; e != nil {
		out.Engine = swarm.EngineDescription{EngineVersion: e.EngineVersion, Labels: e.Labels}
		for _, p := range e.Plugins {
			out.Engine.Plugins = append(out.Engine.Plugins, swarm.PluginDescription{Type: p.Type, Name: p.Name})
		}
	}
	if t := d.TLSInfo; t != nil {
		out.TLSInfo = swarm.TLSInfo{TrustRoot: string(t.TrustRoot), CertIssuerPublicKey: t.CertIssuerPublicKey, CertIssuerSubject: t.CertIssuerSubject}
	}
	return out
}

// NodeSpec translates the specification of a node, which is complete.
func NodeSpec(s swarm.NodeSpec) (api.NodeSpec, error) {
	role, ok := api.NodeRole_value[strings.ToUpper(string(s.Role))]
	if !ok {
		return api.NodeSpec{}, fmt.Errorf("invalid Role: %q", s.Role)
	}
	availability, ok := api.NodeSpec_Availability_value[strings.ToUpper(string(s.Availability))]
	if !ok {
		return api.NodeSpec{}, fmt.Errorf("invalid Availability: %q", s.Availability)
	}
	return api.NodeSpec{
		Annotations: api.Annotations{Name: s.Name, Labels: s.Labels},
		DesiredRole: api.NodeRole(role), Availability: api.NodeSpec_Availability(availability),
	}, nil
}
