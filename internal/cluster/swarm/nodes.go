package swarm

import (
	"context"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/cluster/convert"
	"github.com/linkspan/linkspan/internal/model"
)

// NodeFilter says which nodes are listed: those that meet one of each that is given.
type NodeFilter struct {
	Names, IDs     []string // beginnings
	Labels         map[string]string
	NodeLabels     map[string]string
	Roles, Members []string
}

// Nodes returns the nodes of the swarm that a filter lets through. Errors: Unfit for a
// role that is none.
func (n *Node) Nodes(ctx context.Context, f NodeFilter) (out []swarm.Node, err error) {
	filters := &api.ListNodesRequest_Filters{NamePrefixes: f.Names, IDPrefixes: f.IDs, Labels: f.Labels, NodeLabels: f.NodeLabels}
	for _, text := range f.Roles {
		if role, ok := api.NodeRole_value[strings.ToUpper(text)]; ok {
			filters.Roles = append(filters.Roles, api.NodeRole(role))
		} else if text != "" {
			return nil, model.Errorf(model.Unfit, "Invalid role filter: '%s'", text)
		}
	}
	for _, text := range f.Members {
		if m, ok := api.NodeSpec_Membership_value[strings.ToUpper(text)]; ok {
			filters.Memberships = append(filters.Memberships, api.NodeSpec_Membership(m))
		} else if text != "" {
			return nil, model.Errorf(model.Unfit, "Invalid membership filter: '%s'", text)
		}
	}
	out = []swarm.Node{}
	err = n.Manage(ctx, func(ctx context.Context, m Manager) error {
		r, err := m.ListNodes(ctx, &api.ListNodesRequest{Filters: filters}, Whole)
		if err != nil {
			return err
		}
		for _, one := range r.Nodes {
			out = append(out, convert.Node(one))
		}
		return nil
	})
	return out, err
}

// FindNode returns the node of an ID, a name, or the beginning of an ID.
func (n *Node) FindNode(ctx context.Context, ref string) (out swarm.Node, err error) {
	err = n.Manage(ctx, func(ctx context.Context, m Manager) error {
		found, err := m.FindNode(ctx, ref)
		if err == nil {
			out = convert.Node(found)
		}
		return err
	})
	return out, err
}

// UpdateNode gives a node a new specification. version is that of the node which it
// was made from.
func (n *Node) UpdateNode(ctx context.Context, ref string, version uint64, s swarm.NodeSpec) error {
	return n.Manage(ctx, func(ctx context.Context, m Manager) error {
		spec, err := convert.NodeSpec(s)
		if err != nil {
			return model.Errorf(model.Invalid, "%w", err)
		}
		found, err := m.FindNode(ctx, ref)
		if err != nil {
			return err
		}
		_, err = m.ControlClient.UpdateNode(ctx, &api.UpdateNodeRequest{NodeID: found.ID, Spec: &spec, NodeVersion: &api.Version{Index: version}})
		return err
	})
}

// RemoveNode removes a node that is down; with force also one that is not.
func (n *Node) RemoveNode(ctx context.Context, ref string, force bool) error {
	return n.Manage(ctx, func(ctx context.Context, m Manager) error {
		found, err := m.FindNode(ctx, ref)
		if err != nil {
			return err
		}
		_, err = m.ControlClient.RemoveNode(ctx, &api.RemoveNodeRequest{NodeID: found.ID, Force: force})
		return err
	})
}

// FindNode finds a node as a user names it.
func (m Manager) FindNode(ctx context.Context, ref string) (*api.Node, error) {
	return Find(Lookup[*api.Node]{
		Kind: "node",
		Get: func(id string) (*api.Node, error) {
			r, err := m.GetNode(ctx, &api.GetNodeRequest{NodeID: id})
			if err != nil {
				return nil, err
			}
			return r.Node, nil
		},
		List: func(names, prefixes []string) ([]*api.Node, error) {
			r, err := m.ListNodes(ctx, &api.ListNodesRequest{Filters: &api.ListNodesRequest_Filters{Names: names, IDPrefixes: prefixes}}, Whole)
			if err != nil {
				return nil, err
			}
			return r.Nodes, nil
		},
	}, ref)
}

// Managers counts the managers that answer and those that do not, and tells whether
// this node is one that does.
func (n *Node) Managers(ctx context.Context) (self bool, reachable, unreachable int, err error) {
	err = n.Manage(ctx, func(ctx context.Context, m Manager) error {
		r, err := m.ListNodes(ctx, &api.ListNodesRequest{}, Whole)
		if err != nil {
			return err
		}
		for _, one := range r.Nodes {
			if one.ManagerStatus == nil {
				continue
			}
			switch one.ManagerStatus.Reachability {
			case api.RaftMemberStatus_REACHABLE:
				reachable++
				self = self || one.ID == m.NodeID
			case api.RaftMemberStatus_UNREACHABLE:
				unreachable++
			}
		}
		return nil
	})
	return self, reachable, unreachable, err
}
