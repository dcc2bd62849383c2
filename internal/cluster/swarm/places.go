package swarm

import (
	"context"
	"net/netip"

	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/model"
)

// Spot is an address on a network.
type Spot struct {
	Network model.NetworkID
	Addr    netip.Addr
}

// Spots returns the addresses that a node's tasks have. Errors: as for Manage.
func (n *Node) Spots(ctx context.Context, node string) (map[Spot]bool, error) {
	out := map[Spot]bool{}
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
						out[Spot{model.NetworkID(a.Network.ID), p.Addr()}] = true
					}
				}
			}
		}
		return nil
	})
	return out, err
}
