package dockerapi

import (
	"net/http"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/plugin"
	"github.com/moby/moby/api/types/volume"

	"github.com/linkspan/linkspan/internal/model"
)

// notManager is Docker's word for everything that needs a swarm.
const notManager = `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`

// absentRoutes are the pages of what this engine does not have. What lists
// things answers that there are none, so that commands which look at everything
// work; what would make one says clearly that it cannot.
func absentRoutes() []route {
	routes := []route{
		{"GET /volumes", listVolumes},
		{"POST /volumes/create", unsupported("named volumes are not supported yet: mount a folder of the host")},
		{"POST /volumes/prune", pruneVolumes},
		{"GET /volumes/{name}", noVolume},
		{"DELETE /volumes/{name}", removeVolume},

		{"GET /plugins", listPlugins},
		{"GET /plugins/{name}/json", noPlugin},

		{"POST /build", unsupported(`building images is not supported yet: build elsewhere and use "docker load"`)},
		{"POST /build/prune", pruneBuilds},
		{"POST /build/cancel", noBuild},
		{"POST /session", unsupported("build sessions are not supported")},
		{"POST /grpc", unsupported("build sessions are not supported")},
		{"POST /commit", unsupported("making images of containers is not supported yet")},
		{"GET /distribution/{name...}", unsupported("registries are not supported yet")},

		{"POST /swarm/init", unsupported("swarm mode is not supported")},
		{"POST /swarm/join", unsupported("swarm mode is not supported")},
		{"POST /swarm/leave", noSwarm("This node is not part of a swarm")},
	}
	for _, pattern := range []string{
		"GET /swarm", "GET /swarm/unlockkey", "POST /swarm/update", "POST /swarm/unlock",
		"GET /services", "GET /services/{id...}", "POST /services/create", "POST /services/{id}/update", "DELETE /services/{id}",
		"GET /nodes", "GET /nodes/{id...}", "POST /nodes/{id}/update", "DELETE /nodes/{id}",
		"GET /tasks", "GET /tasks/{id...}",
		"GET /secrets", "GET /secrets/{id...}", "POST /secrets/create", "POST /secrets/{id}/update", "DELETE /secrets/{id}",
		"GET /configs", "GET /configs/{id...}", "POST /configs/create", "POST /configs/{id}/update", "DELETE /configs/{id}",
	} {
		routes = append(routes, route{pattern, noSwarm(notManager)})
	}
	return routes
}

func noSwarm(words string) handler {
	return func(http.ResponseWriter, *request) error { return model.Errorf(model.Unavailable, "%s", words) }
}

func listVolumes(w http.ResponseWriter, r *request) error {
	if _, err := r.filters(); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, volume.ListResponse{Volumes: []volume.Volume{}, Warnings: []string{}})
}

func pruneVolumes(w http.ResponseWriter, r *request) error {
	if _, err := r.filters(); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, volume.PruneReport{VolumesDeleted: []string{}})
}

func noVolume(_ http.ResponseWriter, r *request) error {
	return model.Errorf(model.NotFound, "get %s: no such volume", r.PathValue("name"))
}

func removeVolume(w http.ResponseWriter, r *request) error {
	if r.flag("force") {
		return empty(w, http.StatusNoContent)
	}
	return noVolume(w, r)
}

func listPlugins(w http.ResponseWriter, _ *request) error {
	return writeJSON(w, http.StatusOK, []plugin.Plugin{})
}

func noPlugin(_ http.ResponseWriter, r *request) error {
	return model.Errorf(model.NotFound, "plugin %q not found", r.PathValue("name"))
}

func pruneBuilds(w http.ResponseWriter, _ *request) error {
	return writeJSON(w, http.StatusOK, build.CachePruneReport{CachesDeleted: []string{}})
}

func noBuild(w http.ResponseWriter, _ *request) error { return empty(w, http.StatusNoContent) }
