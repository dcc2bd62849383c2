package dockerapi

import (
	"net/http"

	"github.com/moby/moby/api/types/build"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

// notManager is Docker's word for everything that needs a swarm.
const notManager = `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`

// unsupportedRoutes are the pages of what this engine does not have. What lists
// things answers that there are none, so that commands which look at everything
// work; what would make one says clearly that it cannot.
func unsupportedRoutes() httpkit.Routes {
	routes := httpkit.Routes{
		"POST /build":        httpkit.Unsupported(`building images is not supported yet: build elsewhere and use "docker load"`),
		"POST /build/prune":  pruneBuilds,
		"POST /build/cancel": noBuild,
		"POST /session":      httpkit.Unsupported("build sessions are not supported"),
		"POST /grpc":         httpkit.Unsupported("build sessions are not supported"),
	}
	for _, pattern := range []string{
		"GET /services", "GET /services/{id...}", "POST /services/create", "POST /services/{id}/update", "DELETE /services/{id}",
		"GET /tasks", "GET /tasks/{id...}",
		"GET /secrets", "GET /secrets/{id...}", "POST /secrets/create", "POST /secrets/{id}/update", "DELETE /secrets/{id}",
		"GET /configs", "GET /configs/{id...}", "POST /configs/create", "POST /configs/{id}/update", "DELETE /configs/{id}",
	} {
		routes[pattern] = noSwarm(notManager)
	}
	return routes
}

func noSwarm(words string) httpkit.Handler {
	return func(http.ResponseWriter, *httpkit.Request) error { return model.Errorf(model.Unavailable, "%s", words) }
}

func pruneBuilds(w http.ResponseWriter, _ *httpkit.Request) error {
	return httpkit.WriteJSON(w, http.StatusOK, build.CachePruneReport{CachesDeleted: []string{}})
}

func noBuild(w http.ResponseWriter, _ *httpkit.Request) error {
	return httpkit.Empty(w, http.StatusNoContent)
}
