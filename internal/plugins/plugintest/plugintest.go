// Package plugintest has a plugin for tests: it answers what a test says, and notes what it
// was asked.
package plugintest

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/linkspan/linkspan/internal/plugins"
)

// Plugin is a plugin behind a socket.
type Plugin struct {
	Name   string
	Places plugins.Places
	server *http.Server

	mu      sync.Mutex // guards what follows
	answers map[string]Answer
	calls   []string
	bodies  []string
}

// Answer is a value, a Raw, or a func(json.RawMessage) any.
type Answer any

// Raw is an answer that is sent as it is.
type Raw struct {
	Status int
	Body   string
}

// New returns a plugin that does not run yet, in places of its own.
func New(t testing.TB, name string) *Plugin {
	t.Helper()
	folder, err := os.MkdirTemp("", "plug") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	p := &Plugin{Name: name, Places: plugins.Places{Sockets: folder, Specs: []string{filepath.Join(folder, "etc"), filepath.Join(folder, "lib")}}}
	p.Say("Plugin.Activate", struct{ Implements []string }{[]string{plugins.NetworkDriver, plugins.IpamDriver}})
	return p
}

// Say has a method answered with a value, a Raw, or a func(json.RawMessage) any. What
// nobody said is answered with an empty object.
func (p *Plugin) Say(method string, answer Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answers == nil {
		p.answers = map[string]Answer{}
	}
	p.answers[method] = answer
}

// Start has the plugin listen, until the test ends.
func (p *Plugin) Start(t testing.TB) {
	t.Helper()
	path := filepath.Join(p.Places.Sockets, p.Name+".sock")
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	p.server = &http.Server{Handler: p}
	go p.server.Serve(l)
	t.Cleanup(p.Stop)
}

// Stop ends the plugin, as if it had died.
func (p *Plugin) Stop() { p.server.Close() }

// ServeHTTP implements http.Handler.
func (p *Plugin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	method := strings.TrimPrefix(r.URL.Path, "/")
	p.mu.Lock()
	p.calls, p.bodies = append(p.calls, method), append(p.bodies, string(body))
	answer := p.answers[method]
	p.mu.Unlock()
	if f, ok := answer.(func(json.RawMessage) any); ok {
		answer = f(body)
	}
	switch a := answer.(type) {
	case Raw:
		w.WriteHeader(a.Status)
		io.WriteString(w, a.Body)
	case nil:
		io.WriteString(w, "{}")
	default:
		json.NewEncoder(w).Encode(a)
	}
}

// Calls returns the methods that were called since the last time, in order.
func (p *Plugin) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.calls
	p.calls, p.bodies = nil, nil
	return out
}

// Last returns what came with the last call of a method.
func (p *Plugin) Last(method string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.calls) - 1; i >= 0; i-- {
		if p.calls[i] == method {
			return p.bodies[i]
		}
	}
	return ""
}
