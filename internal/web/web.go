// Package web serves a page that shows what the network does: networks and who is on them, published ports, traffic,
// events, what differs from what is wanted; and says why somebody does not reach somebody else.
//
// It reads what the daemon answers on its private socket, and changes nothing.
//
//	GET /                page, its style and its program: the same for everybody
//	GET /api/watch                        what there is, and what becomes of it: Message a line
//	GET /api/container   ?ref=            privateapi.Container
//	GET /api/explain     ?target=&from=   privateapi.Path
//	GET /api/trace       ?from=&to=       diagnose.Report
//	GET /api/rules                        []privateapi.Asker, the firewall's rules in words
package web

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/diagnose"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

//go:embed page
var page embed.FS

// Bounds of what browsers get.
const (
	// maxWatchers is how many pages are kept up to date at a time.
	maxWatchers = 16
	// maxTraces is how many ways are looked at, at a time.
	maxTraces = 2
	// maxWord bounds what is named in a question, in bytes.
	maxWord = 512
	// writePatience is how long a page may leave a line unread.
	writePatience = 15 * time.Second
)

// Daemon is what is asked of the daemon: privateapi.Client does it.
type Daemon interface {
	State(ctx context.Context) (privateapi.State, error)
	Top(ctx context.Context, interval time.Duration, count int, each func(privateapi.Top) error) error
	Diff(ctx context.Context) (privateapi.Drift, error)
	Container(ctx context.Context, ref string) (privateapi.Container, error)
	Explain(ctx context.Context, target, from, to string) (privateapi.Path, error)
	Rules(ctx context.Context) ([]privateapi.Asker, error)
}

// Event is something that happened, for people.
type Event struct {
	At           time.Time
	Type, Action string // as in `docker events`
	Name         string
	Text         string `json:",omitempty"` // what else is told
}

// Options are what a page is served with.
type Options struct {
	Daemon Daemon
	// Token is what a browser has to know; empty: whoever can connect may look.
	Token string
	// Trace says why from does not reach to.
	Trace func(ctx context.Context, from, to string) (diagnose.Report, error)
	// Events calls each for what happens from now on, until ctx ends or there is nobody who tells.
	Events func(ctx context.Context, each func(Event)) error
	// Refresh is how often the daemon is asked what there is; half a second if 0.
	Refresh time.Duration
}

type server struct {
	Options
	watchers, traces chan struct{}
	drift            *comparison
}

// Handler returns what answers browsers.
func Handler(o Options) http.Handler {
	if o.Refresh == 0 {
		o.Refresh = refresh
	}
	s := &server{Options: o, watchers: make(chan struct{}, maxWatchers), traces: make(chan struct{}, maxTraces),
		drift: newComparison(o.Daemon.Diff, compare)}
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // the folder is there, or this would not have been compiled
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /api/watch", s.watch)
	mux.HandleFunc("GET /api/container", s.answer(func(ctx context.Context, word func(string) string) (any, error) {
		return o.Daemon.Container(ctx, word("ref"))
	}))
	mux.HandleFunc("GET /api/explain", s.answer(func(ctx context.Context, word func(string) string) (any, error) {
		return o.Daemon.Explain(ctx, word("target"), word("from"), "")
	}))
	mux.HandleFunc("GET /api/rules", s.answer(func(ctx context.Context, _ func(string) string) (any, error) { return o.Daemon.Rules(ctx) }))
	mux.HandleFunc("GET /api/trace", s.answer(s.trace))
	return s.guard(mux)
}

// guard lets in who may look. A page of another site, and a name of another site that leads here (DNS rebinding), may
// not: a request is for this host by its loopback address or name, and what comes from elsewhere says so (Fetch Metadata,
// https://www.w3.org/TR/fetch-metadata/).
func (s *server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch site := r.Header.Get("Sec-Fetch-Site"); {
		case !localName(r.Host):
			http.Error(w, "this page is asked for by localhost or a loopback address, not by the name "+model.Printable(r.Host), http.StatusForbidden)
		case strings.HasPrefix(r.URL.Path, "/api/") && site != "" && site != "same-origin" && site != "none":
			http.Error(w, "another site may not ask", http.StatusForbidden)
		case strings.HasPrefix(r.URL.Path, "/api/") && !s.knows(r):
			h.Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the token is missing or wrong: open the address that `linkspan web` has printed", http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// localName tells whether a request is for this host, by a name that nobody else can give to an address.
func localName(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}

// knows tells whether whoever asks has the token. The comparison takes as long for any other.
func (s *server) knows(r *http.Request) bool {
	if s.Token == "" {
		return true
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(s.Token))
	return ok && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// answer serves what f returns, as JSON.
func (s *server) answer(f func(ctx context.Context, word func(string) string) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		for name := range q {
			if len(q.Get(name)) > maxWord {
				http.Error(w, "the question is too long", http.StatusBadRequest)
				return
			}
		}
		got, err := f(r.Context(), q.Get)
		if err != nil {
			http.Error(w, err.Error(), privateapi.StatusOf(err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(got) // whoever is gone does not read it
	}
}

// errBusy is told to who asks for more at a time than there is room for.
var errBusy = model.Errorf(model.Unavailable, "others are being answered: try again in a moment")

func (s *server) trace(ctx context.Context, word func(string) string) (any, error) {
	if s.Trace == nil {
		return nil, model.Errorf(model.NotImplemented, "ways cannot be traced from here")
	}
	select {
	case s.traces <- struct{}{}:
		defer func() { <-s.traces }()
	default:
		return nil, errBusy
	}
	return s.Trace(ctx, word("from"), word("to"))
}
