// Package build has the handlers of image builds: the two connections that clients with
// BuildKit take over, POST /build of those without, and the build cache.
//
//	docker buildx build ─▶ /grpc, /session ─╮
//	POST /build ─▶ options ─────────────────┴▶ Builder
//
// It translates and decides nothing.
package build

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/build"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
)

// Builder builds.
type Builder interface {
	// Forward has the builder answer a request, at a path of its own. An error comes before
	// any answer.
	Forward(w http.ResponseWriter, r *http.Request, path string, query url.Values) error
	Usage(ctx context.Context) ([]wire.Record, error)
	Prune(ctx context.Context, p wire.Prune) (wire.Pruned, error)
}

// Events are told what happens.
type Events interface{ Publish(events.Message) }

type api struct {
	Builder
	events Events
}

// Routes returns the handlers of builds.
func Routes(b Builder, e Events) httpkit.Routes {
	a := &api{b, e}
	return httpkit.Routes{
		"POST /build":        a.build,
		"POST /build/prune":  a.prune,
		"POST /build/cancel": a.cancel,
		"POST /grpc":         a.takeOver(wire.PathControl),
		"POST /session":      a.takeOver(wire.PathSession),
	}
}

// takeOver hands a connection on for HTTP/2.
func (a *api) takeOver(path string) httpkit.Handler {
	return func(w http.ResponseWriter, r *httpkit.Request) error {
		switch proto := r.Header.Get("Upgrade"); proto {
		case "h2c":
		case "":
			return model.Errorf(model.Invalid, "no upgrade proto in request")
		default:
			return model.Errorf(model.Invalid, "protocol %s not supported", proto)
		}
		ctx, cancel := httpkit.UntilClosing(r.Context())
		defer cancel()
		return a.Forward(w, r.Request.WithContext(ctx), path, nil)
	}
}

// build is `docker build` of clients that speak no gRPC.
func (a *api) build(w http.ResponseWriter, r *httpkit.Request) error {
	options, err := parseOptions(r)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(options)
	if err != nil {
		return err
	}
	// The client sends its context while it is shown how far it is, where the connection can.
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	ctx, cancel := httpkit.UntilClosing(r.Context())
	defer cancel()
	out := r.Request.WithContext(ctx)
	out.Body = r.Stream()
	if err := a.Forward(w, out, wire.PathBuild, url.Values{"options": {string(raw)}}); err != nil {
		w.Header().Set("Connection", "close") // what is left of the context is no next request
		return err
	}
	return nil
}

// cancel is for clients that know a build by an ID, as none does that sends its context with
// the request: who goes away has cancelled.
//
//docker:partly POST /build/cancel: a build is cancelled by who closes the connection of its request; no other has an ID: it answers so
func (a *api) cancel(w http.ResponseWriter, r *httpkit.Request) error {
	if r.Query.Get("id") == "" {
		return model.Errorf(model.Invalid, "build ID not provided")
	}
	return httpkit.Empty(w, http.StatusNoContent)
}

// prune is `docker builder prune`.
func (a *api) prune(w http.ResponseWriter, r *httpkit.Request) error {
	ask, err := parsePrune(r)
	if err != nil {
		return err
	}
	done, err := a.Prune(r.Context(), ask)
	if err != nil {
		return err
	}
	a.events.Publish(events.BuildCachePruned(done.Bytes))
	out := build.CachePruneReport{CachesDeleted: append([]string{}, done.IDs...), SpaceReclaimed: uint64(max(done.Bytes, 0))}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}
