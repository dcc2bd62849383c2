package swarm

import (
	"context"
	"math"
	"net/netip"
	"strings"

	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/model"
)

// Spot is an address on a network.
type Spot struct {
	Network model.NetworkID
	Addr    netip.Addr
}

// Spots returns the addresses that a node's tasks have, and what whoever has one stands for
// there; nil for a plain container. Errors: as for Manage.
func (n *Node) Spots(ctx context.Context, node string) (map[Spot]*model.ServiceEndpoint, error) {
	out := map[Spot]*model.ServiceEndpoint{}
	err := n.Manage(ctx, func(ctx context.Context, m Manager) error {
		r, err := m.ListTasks(ctx, &api.ListTasksRequest{Filters: &api.ListTasksRequest_Filters{NodeIDs: []string{node}}}, Whole)
		if err != nil {
			return err
		}
		for _, t := range r.Tasks {
			for _, a := range t.Networks {
				if a.Network == nil {
					continue
				}
				for _, text := range a.Addresses {
					if p, err := netip.ParsePrefix(text); err == nil {
						out[Spot{model.NetworkID(a.Network.ID), p.Addr()}] = StandsFor(t, a)
					}
				}
			}
		}
		return nil
	})
	return out, err
}

// StandsFor returns what a task's container stands for on a network; nil for a plain
// container, which no service has made.
func StandsFor(t *api.Task, at *api.NetworkAttachment) *model.ServiceEndpoint {
	if t.ServiceID == "" {
		return nil
	}
	out := &model.ServiceEndpoint{Service: t.ServiceID, Name: t.ServiceAnnotations.Name, Task: t.ID, Aliases: at.Aliases}
	if t.Endpoint == nil {
		return out
	}
	for _, v := range t.Endpoint.VirtualIPs {
		if p, err := netip.ParsePrefix(v.Addr); err == nil && v.NetworkID == at.Network.ID {
			out.VIPs = append(out.VIPs, p.Addr())
		}
	}
	local, sticky, _ := model.IngressOptions(t.ServiceAnnotations.Labels) // of a service from before there were any: as without
	for _, p := range t.Endpoint.Ports {
		if p.PublishMode == api.PublishModeIngress && at.Network.Spec.Ingress && p.TargetPort <= math.MaxUint16 && p.PublishedPort <= math.MaxUint16 {
			out.Ingress = append(out.Ingress, model.IngressPort{
				Name: p.Name, Protocol: model.Protocol(strings.ToLower(p.Protocol.String())), Target: uint16(p.TargetPort), Published: uint16(p.PublishedPort),
				Local: local, Sticky: sticky,
			})
		}
	}
	return out
}
