package dockerapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// Options is what the door is made of.
type Options struct {
	Backends
	Info Info
	// Settings, if set, is what Info leaves out, because it can change.
	Settings func() Settings
	Logger   *slog.Logger
	// Observe, if set, is told how long each request took, by the route it
	// matched: "GET /networks/{id...}".
	Observe func(route string, status int, took time.Duration)
}

// server answers requests. It is safe for concurrent use.
type server struct {
	Options
	log *slog.Logger
	mux *http.ServeMux
}

// handler answers one request. An error it returns becomes the answer, unless
// something was sent before.
type handler func(w http.ResponseWriter, r *request) error

// route is a pattern of net/http.ServeMux with its handler.
type route struct {
	pattern string
	handle  handler
}

// New returns the Docker Engine API.
func New(o Options) http.Handler {
	s := &server{Options: o, log: o.Logger, mux: http.NewServeMux()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, routes := range [][]route{
		s.systemRoutes(), s.containerRoutes(), s.streamRoutes(), s.execRoutes(),
		s.imageRoutes(), s.networkRoutes(), absentRoutes(),
	} {
		for _, one := range routes {
			s.mux.HandleFunc(one.pattern, s.adapt(one.handle))
		}
	}
	return s
}

// versionKey is where the version is kept in a request's context.
type versionKey struct{}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	seen := &recorder{ResponseWriter: w}
	pattern := ""
	defer func() {
		took := time.Since(began)
		s.log.Debug(fmt.Sprintf("%s %.200q: %d in %s", r.Method, r.URL.Path, seen.status, took), "op", "api.request")
		if s.Observe != nil {
			s.Observe(pattern, seen.status, took)
		}
	}()
	defer s.recoverPanic(seen, r)
	s.setHeaders(w.Header())
	if len(r.URL.Path) > maxPath {
		s.writeError(seen, r, model.Errorf(model.Invalid, "the request's path has %d bytes, at most %d are allowed", len(r.URL.Path), maxPath))
		return
	}
	v, path, err := splitVersion(r.URL.Path)
	if err == nil && v < s.oldest() {
		err = tooOld(v.String(), s.oldest())
	}
	if err != nil {
		s.writeError(seen, r, err)
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
		s.writeError(seen, r, errNoPage())
		return
	}
	s.mux.ServeHTTP(seen, inner)
}

// setHeaders sets what every answer carries.
func (s *server) setHeaders(h http.Header) {
	h.Set("Api-Version", newestVersion.String())
	h.Set("Ostype", "linux")
	h.Set("Docker-Experimental", "false")
	h.Set("Server", "Linkspan/"+s.Info.Version+" (linux)")
}

// adapt makes a handler one of net/http.
func (s *server) adapt(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, _ := r.Context().Value(versionKey{}).(version)
		one, err := newRequest(w, r, v)
		if err == nil {
			err = h(w, one)
		}
		if err == nil {
			return
		}
		if seen, ok := w.(*recorder); ok && (seen.status != 0 || seen.hijacked) {
			s.log.Debug("answer broken off", "op", r.Method+" "+r.URL.Path, "err", err)
			return
		}
		s.writeError(w, r, err)
	}
}

// recoverPanic keeps a fault in one request from ending the daemon.
func (s *server) recoverPanic(w *recorder, r *http.Request) {
	fault := recover()
	if fault == nil {
		return
	}
	if fault == http.ErrAbortHandler { //nolint:errorlint // net/http's own sentinel, passed on as it is
		panic(fault)
	}
	s.log.Error("panic while answering", "op", r.Method+" "+r.URL.Path, "err", fmt.Sprintf("%v\n%s", fault, debug.Stack()))
	if w.status == 0 && !w.hijacked {
		s.writeError(w, r, model.Errorf(model.Internal, "internal error: the daemon's log has the details"))
	}
}

// empty answers with a status and nothing else.
func empty(w http.ResponseWriter, status int) error {
	w.WriteHeader(status)
	return nil
}
