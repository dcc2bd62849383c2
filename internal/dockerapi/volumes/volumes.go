// Package volumes has the handlers of volumes.
//
// It translates between the API and the hub of volumes, and decides nothing.
package volumes

import (
	"context"
	"net/http"
	"time"

	"github.com/moby/moby/api/types/volume"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
	hub "github.com/linkspan/linkspan/internal/volumes"
)

// Volumes makes, shows and removes volumes.
type Volumes interface {
	Create(ctx context.Context, r model.VolumeRequest) (model.Volume, error)
	Get(name string) (model.Volume, error)
	// List returns the volumes that meet all filters, sorted by name.
	List(f query.Filters) ([]model.Volume, error)
	Remove(ctx context.Context, name string, force bool) error
	Prune(ctx context.Context, f query.Filters) (hub.Pruned, error)
}

type api struct{ Volumes }

// Routes returns the handlers of volumes.
func Routes(v Volumes) httpkit.Routes {
	a := &api{v}
	return httpkit.Routes{
		"GET /volumes":           a.list,
		"POST /volumes/create":   a.create,
		"POST /volumes/prune":    a.prune,
		"GET /volumes/{name}":    a.inspect,
		"DELETE /volumes/{name}": a.remove,
		"PUT /volumes/{name}":    noUpdate,
	}
}

// Show returns a volume as the API has it.
func Show(v model.Volume) volume.Volume {
	return volume.Volume{
		Name: v.Name, Driver: v.Driver, Mountpoint: v.Mountpoint, Scope: "local",
		CreatedAt: v.Created.Local().Format(time.RFC3339), Labels: v.Labels, Options: v.Options,
	}
}

func (a *api) list(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	all, err := a.Volumes.List(f)
	if err != nil {
		return err
	}
	out := volume.ListResponse{Volumes: make([]volume.Volume, 0, len(all))}
	for _, v := range all {
		out.Volumes = append(out.Volumes, Show(v))
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

func (a *api) create(w http.ResponseWriter, r *httpkit.Request) error {
	var body volume.CreateRequest
	if err := r.Decode(&body); err != nil {
		return err
	}
	//docker:partly POST /volumes/create: without volumes of a cluster (CSI)
	//docker:no volume create --availability, volume create --group, volume create --limit-bytes, volume create --required-bytes, volume create --scope, volume create --secret, volume create --sharing, volume create --topology-preferred, volume create --topology-required, volume create --type: there are no volumes of a cluster (CSI)
	if body.ClusterVolumeSpec != nil {
		return model.Errorf(model.Unavailable, "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.")
	}
	v, err := a.Volumes.Create(r.Context(), model.VolumeRequest{Name: body.Name, Driver: body.Driver, Options: body.DriverOpts, Labels: body.Labels})
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusCreated, Show(v))
}

func (a *api) inspect(w http.ResponseWriter, r *httpkit.Request) error {
	v, err := a.Get(r.PathValue("name"))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, Show(v))
}

func (a *api) remove(w http.ResponseWriter, r *httpkit.Request) error {
	return httpkit.Done(w, a.Remove(r.Context(), r.PathValue("name"), r.Flag("force")))
}

// noUpdate: only volumes of a cluster have anything to update.
//
//docker:no PUT /volumes/{name}, volume update: only volumes of a cluster (CSI) could be updated, and there are none
func noUpdate(http.ResponseWriter, *httpkit.Request) error {
	return model.Errorf(model.Unavailable, "volume update only valid for cluster volumes, but swarm is unavailable")
}

func (a *api) prune(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	if r.Version < 42 && !f.Has("all") {
		f["all"] = []string{"true"} // was not asked about
	}
	pruned, err := a.Prune(r.Context(), f)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, volume.PruneReport{VolumesDeleted: pruned.Names, SpaceReclaimed: pruned.Reclaimed})
}
