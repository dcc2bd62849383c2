package dockerapi

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/dockerapi/private"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

func TestDebug(t *testing.T) {
	b := newBench(t)
	b.run(t, "1", "web", "bridge")
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "linkspan_things_total", Help: "Things."})
	if err := errors.Join(registry.Register(counter)); err != nil {
		t.Fatal(err)
	}
	counter.Inc()
	b.engine.report = desired.Report{Drift: []string{"link docker0: missing"}, Writes: 2}
	h := private.Handler(private.Options{Engine: b.engine, Metrics: registry})
	for _, c := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/metrics", 200, "linkspan_things_total 1"},
		{"GET", "/debug/state", 200, "sandbox 111111111111 container=111111111111 name=web mode=own up=true"},
		{"GET", "/debug/state", 200, "addresses=[172.17.0.2 invalid IP]"},
		{"GET", "/linkspan/v1/plan", 200, ""},
		{"GET", "/linkspan/v1/diff", 200, "differs: link docker0: missing\n1 differences, 2 writes\n"},
		{"POST", "/linkspan/v1/resync", 200, "repaired: link docker0: missing\n1 differences, 2 writes\n"},
		{"GET", "/linkspan/v1/resync", 405, ""},
		{"GET", "/linkspan/v1/state", 200, `"Containers":[{"ID":"1111`},
		{"GET", "/linkspan/v1/state", 200, `"Networks":[{"ID":"`},
		{"GET", "/linkspan/v1/state", 200, `{"Address":"172.17.0.2/16","Gateway":"172.17.0.1"}`},
		{"GET", "/linkspan/v1/containers/web", 501, "not known here"},
		{"GET", "/linkspan/v1/plan?format=json", 200, "[]\n"},
		{"GET", "/linkspan/v1/diff?format=json", 200, `"Differences": [
        "link docker0: missing"
    ],
    "Writes": 2`},
		{"GET", "/linkspan/v1/ports?format=json", 200, "[]\n"},
		{"GET", "/debug/pprof/cmdline", 200, "dockerapi"},
		{"GET", "/debug/pprof/", 200, "goroutine"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s: %d %.500s, want %d %s", c.method, c.path, w.Code, w.Body, c.status, c.want)
		}
		if strings.HasSuffix(c.path, "diff") && w.Header().Get("Linkspan-Drift") != "1" {
			t.Errorf("drift: %q", w.Header().Get("Linkspan-Drift"))
		}
	}
}

// TestDebugLinesAreWhole: names make neither lines of their own nor reach the
// terminal.
func TestPrivateLinesAreWhole(t *testing.T) {
	const evil = "web\nsandbox forged\x1b[2J"
	b := newBench(t)
	n := model.Network{ID: "0123456789abcdef", Name: evil, Driver: "bridge", Options: map[string]string{"a\nb": "c\rd"}}
	if _, err := b.engine.Do(t.Context(), func(tx ops.Tx) error { tx.PutNetwork(n); return nil }); err != nil {
		t.Fatal(err)
	}
	b.engine.report = desired.Report{Drift: []string{"name in " + evil}}
	h := private.Handler(private.Options{Engine: b.engine, Metrics: prometheus.NewRegistry()})
	for path, want := range map[string]string{
		"/debug/state":      `network 0123456789ab web\nsandbox forged\x1b[2J driver=bridge`,
		"/linkspan/v1/diff": `differs: name in web\nsandbox forged\x1b[2J`,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		got := w.Body.String()
		if !strings.Contains(got, want) || strings.ContainsAny(got, "\x1b\r") || strings.Contains(got, "\nsandbox forged") {
			t.Errorf("%s:\n%s", path, got)
		}
	}
}
