package dockerapi

import (
	"net/http"

	"github.com/moby/moby/api/types/build"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
)

// unsupportedRoutes are the pages of what this engine does not have. What lists
// things answers that there are none, so that commands which look at everything
// work; what would make one says clearly that it cannot.
func unsupportedRoutes() httpkit.Routes {
	return httpkit.Routes{
		"POST /build":        httpkit.Unsupported(`building images is not supported yet: build elsewhere and use "docker load"`),
		"POST /build/prune":  pruneBuilds,
		"POST /build/cancel": noBuild,
		"POST /session":      httpkit.Unsupported("build sessions are not supported"),
		"POST /grpc":         httpkit.Unsupported("build sessions are not supported"),
	}
}

func pruneBuilds(w http.ResponseWriter, _ *httpkit.Request) error {
	return httpkit.WriteJSON(w, http.StatusOK, build.CachePruneReport{CachesDeleted: []string{}})
}

func noBuild(w http.ResponseWriter, _ *httpkit.Request) error {
	return httpkit.Empty(w, http.StatusNoContent)
}
