// Package swarm has the handlers of the swarm and of its nodes.
//
// It translates between the API and the hub of the swarm, and decides nothing.
package swarm

import (
	"context"
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/swarm"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
	hub "github.com/linkspan/linkspan/internal/swarm"
)

// Membership makes this host a node of a swarm and ends that.
type Membership interface {
	// Init returns the ID of the node.
	Init(ctx context.Context, r swarm.InitRequest) (string, error)
	Join(ctx context.Context, r swarm.JoinRequest) error
	Leave(ctx context.Context, force bool) error
	Unlock(ctx context.Context, key string) error
}

// Swarm is the swarm as a whole.
type Swarm interface {
	Inspect(ctx context.Context) (swarm.Swarm, error)
	// Update takes the version that the specification was made from.
	Update(ctx context.Context, version uint64, s swarm.Spec, r hub.Rotation) error
	UnlockKey(ctx context.Context) (string, error)
}

// Nodes are the hosts of the swarm.
type Nodes interface {
	Nodes(ctx context.Context, f hub.NodeFilter) ([]swarm.Node, error)
	FindNode(ctx context.Context, ref string) (swarm.Node, error)
	UpdateNode(ctx context.Context, ref string, version uint64, s swarm.NodeSpec) error
	RemoveNode(ctx context.Context, ref string, force bool) error
}

// Backend is all of it.
type Backend interface {
	Membership
	Swarm
	Nodes
}

type api struct {
	Membership Membership
	Swarm      Swarm
	Nodes      Nodes
}

// Routes returns the handlers of the swarm and of its nodes.
func Routes(b Backend) httpkit.Routes {
	a := &api{b, b, b}
	return httpkit.Routes{
		"GET /swarm":              a.inspect,
		"GET /swarm/unlockkey":    a.unlockKey,
		"POST /swarm/init":        a.create,
		"POST /swarm/join":        a.join,
		"POST /swarm/leave":       a.leave,
		"POST /swarm/update":      a.update,
		"POST /swarm/unlock":      a.unlock,
		"GET /nodes":              a.listNodes,
		"GET /nodes/{id}":         a.inspectNode,
		"POST /nodes/{id}/update": a.updateNode,
		"DELETE /nodes/{id}":      a.removeNode,
	}
}

func (a *api) create(w http.ResponseWriter, r *httpkit.Request) error {
	var body swarm.InitRequest
	if err := r.Decode(&body); err != nil {
		return err
	}
	if r.Version < 39 { // these fields did not exist
		body.DefaultAddrPool, body.SubnetSize = nil, 0
	}
	if r.Version < 40 {
		body.DataPathPort = 0
	}
	id, err := a.Membership.Init(r.Context(), body)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, id)
}

func (a *api) join(w http.ResponseWriter, r *httpkit.Request) error {
	var body swarm.JoinRequest
	if err := r.Decode(&body); err != nil {
		return err
	}
	if err := a.Membership.Join(r.Context(), body); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

func (a *api) leave(w http.ResponseWriter, r *httpkit.Request) error {
	if err := a.Membership.Leave(r.Context(), r.Flag("force")); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

func (a *api) inspect(w http.ResponseWriter, r *httpkit.Request) error {
	s, err := a.Swarm.Inspect(r.Context())
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, s)
}

func (a *api) update(w http.ResponseWriter, r *httpkit.Request) error {
	var body swarm.Spec
	if err := r.Decode(&body); err != nil {
		return err
	}
	version, err := r.ObjectVersion("swarm")
	if err != nil {
		return err
	}
	var rotate hub.Rotation
	for _, f := range []struct {
		name string
		to   *bool
	}{{"rotateWorkerToken", &rotate.WorkerToken}, {"rotateManagerToken", &rotate.ManagerToken}, {"rotateManagerUnlockKey", &rotate.UnlockKey}} {
		text := r.Query.Get(f.name)
		if text == "" {
			continue
		}
		if *f.to, err = strconv.ParseBool(text); err != nil {
			return model.Errorf(model.Invalid, "invalid value for %s: %s", f.name, text)
		}
	}
	if err := a.Swarm.Update(r.Context(), version, body, rotate); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

func (a *api) unlock(w http.ResponseWriter, r *httpkit.Request) error {
	var body swarm.UnlockRequest
	if err := r.Decode(&body); err != nil {
		return err
	}
	if err := a.Membership.Unlock(r.Context(), body.UnlockKey); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

func (a *api) unlockKey(w http.ResponseWriter, r *httpkit.Request) error {
	key, err := a.Swarm.UnlockKey(r.Context())
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, swarm.UnlockKeyResponse{UnlockKey: key})
}

func (a *api) listNodes(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	if err := f.Check("name", "id", "label", "role", "membership", "node.label"); err != nil {
		return err
	}
	list, err := a.Nodes.Nodes(r.Context(), hub.NodeFilter{
		Names: f["name"], IDs: f["id"], Labels: query.Pairs(f["label"]), NodeLabels: query.Pairs(f["node.label"]), Roles: f["role"], Members: f["membership"],
	})
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, list)
}

func (a *api) inspectNode(w http.ResponseWriter, r *httpkit.Request) error {
	n, err := a.Nodes.FindNode(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, n)
}

func (a *api) updateNode(w http.ResponseWriter, r *httpkit.Request) error {
	var body swarm.NodeSpec
	if err := r.Decode(&body); err != nil {
		return err
	}
	version, err := r.ObjectVersion("node")
	if err != nil {
		return err
	}
	if err := a.Nodes.UpdateNode(r.Context(), r.PathValue("id"), version, body); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

func (a *api) removeNode(w http.ResponseWriter, r *httpkit.Request) error {
	if err := a.Nodes.RemoveNode(r.Context(), r.PathValue("id"), r.Flag("force")); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}
