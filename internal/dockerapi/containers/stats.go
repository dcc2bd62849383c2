package containers

import (
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containers/stats"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
)

// stats sends what a container uses, once or every second.
func (a *api) stats(w http.ResponseWriter, r *httpkit.Request) error {
	o := stats.Options{Stream: !r.Query.Has("stream") || r.Flag("stream"), OneShot: r.Version >= 41 && r.Flag("one-shot")}
	ctx, cancel := httpkit.UntilClosing(r.Context())
	defer cancel()
	out := httpkit.NewStream(w, r, "application/json")
	encoder := out.Encoder()
	return a.Stats.Read(ctx, r.PathValue("id"), o, func(now container.StatsResponse) error { return encoder.Encode(now) })
}
