// Package volumes has the handlers of named volumes, which this engine does not have:
// lists are empty, so that commands which look at everything work, and what would
// make one says clearly that it cannot.
package volumes

import (
	"net/http"

	"github.com/moby/moby/api/types/volume"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

// Routes returns the handlers of volumes.
func Routes() httpkit.Routes {
	return httpkit.Routes{
		"GET /volumes":           listVolumes,
		"POST /volumes/create":   httpkit.Unsupported("named volumes are not supported yet: mount a folder of the host"),
		"POST /volumes/prune":    pruneVolumes,
		"GET /volumes/{name}":    noVolume,
		"DELETE /volumes/{name}": removeVolume,
	}
}

func listVolumes(w http.ResponseWriter, r *httpkit.Request) error {
	if _, err := r.Filters(); err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, volume.ListResponse{Volumes: []volume.Volume{}, Warnings: []string{}})
}

func pruneVolumes(w http.ResponseWriter, r *httpkit.Request) error {
	if _, err := r.Filters(); err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, volume.PruneReport{VolumesDeleted: []string{}})
}

func noVolume(_ http.ResponseWriter, r *httpkit.Request) error {
	return model.Errorf(model.NotFound, "get %s: no such volume", r.PathValue("name"))
}

func removeVolume(w http.ResponseWriter, r *httpkit.Request) error {
	if r.Flag("force") {
		return httpkit.Empty(w, http.StatusNoContent)
	}
	return noVolume(w, r)
}
