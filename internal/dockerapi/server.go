package dockerapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/dockerapi/build"
	"github.com/linkspan/linkspan/internal/dockerapi/containers"
	"github.com/linkspan/linkspan/internal/dockerapi/exec"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/dockerapi/images"
	"github.com/linkspan/linkspan/internal/dockerapi/networks"
	"github.com/linkspan/linkspan/internal/dockerapi/plugins"
	"github.com/linkspan/linkspan/internal/dockerapi/registries"
	"github.com/linkspan/linkspan/internal/dockerapi/services"
	"github.com/linkspan/linkspan/internal/dockerapi/swarm"
	"github.com/linkspan/linkspan/internal/dockerapi/system"
	"github.com/linkspan/linkspan/internal/dockerapi/volumes"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Options is what the door is made of.
type Options struct {
	Backends
	Info system.Info
	// Settings, if set, is what Info leaves out, because it can change.
	Settings func() system.Settings
	// Machine, if set, looks at the host.
	Machine func() facts.Machine
	Logger  *slog.Logger
	// Observe, if set, is told how long each request took, by the route it
	// matched: "GET /networks/{id...}".
	Observe func(route string, status int, took time.Duration)
	// Trace, if set, is called when a request begins; end, which it returns, like Observe.
	Trace func(r *http.Request) (_ *http.Request, end func(route string, status int))
}

// server answers requests. It is safe for concurrent use.
type server struct {
	options Options
	log     *slog.Logger
	mux     *http.ServeMux
}

// New returns the Docker Engine API.
func New(o Options) http.Handler {
	s := &server{options: o, log: o.Logger, mux: http.NewServeMux()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, routes := range s.routes() {
		for pattern, handle := range routes {
			s.mux.HandleFunc(pattern, s.adapt(handle))
		}
	}
	return s
}

// routes puts the handlers of all resources together.
func (s *server) routes() []httpkit.Routes {
	o := s.options
	return []httpkit.Routes{
		system.Routes(system.Options{
			Info: o.Info, Settings: o.Settings, Machine: o.Machine, Containers: o.Usage, Images: o.Images, Volumes: o.VolumeUsage, Drivers: o.Drivers, Events: o.Events, Swarm: o.Membership, BuildCache: o.Builder,
		}),
		containers.Routes(containers.Options{
			Containers: o.Containers, Lifecycle: o.Lifecycle, Control: o.Control, Archive: o.Archive, Stats: o.Stats, Commits: o.Commits, Images: o.Images, Endpoints: o.Endpoints,
		}),
		exec.Routes(o.Execs),
		images.Routes(o.Images, o.Transfer, o.Mover, s.log),
		registries.Routes(o.Registries),
		networks.Routes(o.Networks, o.Memberships),
		volumes.Routes(o.Volumes),
		plugins.Routes(o.Plugins),
		swarm.Routes(o.Swarm),
		services.Routes(o.Backends.Services),
		build.Routes(o.Builder, o.Publisher),
	}
}

// versionKey is where the version is kept in a request's context.
type versionKey struct{}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	seen := &httpkit.Recorder{ResponseWriter: w}
	pattern := ""
	if s.options.Trace != nil {
		traced, end := s.options.Trace(r)
		r = traced
		defer func() { end(pattern, seen.Status) }()
	}
	defer func() {
		took := time.Since(began)
		s.log.Debug(fmt.Sprintf("%s %.200q: %d in %s", r.Method, r.URL.Path, seen.Status, took), "op", "api.request")
		if s.options.Observe != nil {
			s.options.Observe(pattern, seen.Status, took)
		}
	}()
	defer s.recoverPanic(seen, r)
	s.setHeaders(w.Header())
	if len(r.URL.Path) > httpkit.MaxPath {
		httpkit.WriteError(s.log, seen, r, model.Errorf(model.Invalid, "the request's path has %d bytes, at most %d are allowed", len(r.URL.Path), httpkit.MaxPath))
		return
	}
	v, path, err := httpkit.SplitVersion(r.URL.Path)
	if err == nil && v < s.options.Info.Oldest() {
		err = httpkit.TooOld(v.String(), s.options.Info.Oldest())
	}
	if err != nil {
		httpkit.WriteError(s.log, seen, r, err)
		return
	}
	inner := r.WithContext(context.WithValue(r.Context(), versionKey{}, v))
	u := *r.URL
	u.Path, u.RawPath = path, strings.TrimPrefix(u.RawPath, strings.TrimSuffix(r.URL.Path, path))
	inner.URL = &u
	if _, pattern = s.mux.Handler(inner); pattern == "" && linkInPath(&u) {
		_, pattern = s.mux.Handler(inner)
	}
	// The mux would answer in its own words; Docker says this of a wrong method too,
	// and knows HEAD only where a client needs it.
	if pattern == "" || r.Method == http.MethodHead && !strings.HasSuffix(pattern, "/_ping") && !strings.HasSuffix(pattern, "/archive") {
		httpkit.WriteError(s.log, seen, r, httpkit.ErrNoPage())
		return
	}
	s.mux.ServeHTTP(seen, inner)
}

// setHeaders sets what every answer carries.
func (s *server) setHeaders(h http.Header) {
	h.Set("Api-Version", httpkit.NewestVersion.String())
	h.Set("Ostype", "linux")
	h.Set("Docker-Experimental", "false")
	h.Set("Server", "Linkspan/"+s.options.Info.Version+" (linux)")
}

// adapt makes a handler one of net/http.
func (s *server) adapt(h httpkit.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, _ := r.Context().Value(versionKey{}).(httpkit.Version)
		one, err := httpkit.NewRequest(w, r, v)
		if err == nil {
			err = h(w, one)
		}
		if err == nil {
			return
		}
		if seen, ok := w.(*httpkit.Recorder); ok && (seen.Status != 0 || seen.Hijacked) {
			s.log.Debug("answer broken off", "op", r.Method+" "+r.URL.Path, "err", err)
			return
		}
		httpkit.WriteError(s.log, w, r, err)
	}
}

// recoverPanic keeps a fault in one request from ending the daemon.
func (s *server) recoverPanic(w *httpkit.Recorder, r *http.Request) {
	fault := recover()
	if fault == nil {
		return
	}
	if fault == http.ErrAbortHandler { //nolint:errorlint // net/http's own sentinel, passed on as it is
		panic(fault)
	}
	s.log.Error("panic while answering", "op", r.Method+" "+r.URL.Path, "err", fmt.Sprintf("%v\n%s", fault, debug.Stack()))
	if w.Status == 0 && !w.Hijacked {
		httpkit.WriteError(s.log, w, r, model.Errorf(model.Internal, "internal error: the daemon's log has the details"))
	}
}
