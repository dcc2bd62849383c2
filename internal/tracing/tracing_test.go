package tracing

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
)

// variables is an environment.
func variables(of map[string]string) func(string) string {
	return func(name string) string { return of[name] }
}

// TestAsked: what makes traces, what does not, and what is a mistake.
func TestAsked(t *testing.T) {
	const endpoint = "http://127.0.0.1:9"
	for _, c := range []struct {
		env  map[string]string
		want bool
		err  string
	}{
		{env: nil},
		{env: map[string]string{"OTEL_SERVICE_NAME": "x"}},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}, want: true},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, want: true},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, want: true},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_EXPORTER": "none"}},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SDK_DISABLED": "True"}},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, err: "it can be otlp or none"},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, err: "it can be http/protobuf or grpc"},
	} {
		got, err := Open(t.Context(), Options{Getenv: variables(c.env), Logger: slog.New(slog.DiscardHandler)})
		if (got != nil) != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %v, %v", c.env, got, err)
		}
		if h := got.Hooks(); (h.Request != nil) != c.want || (h.Step != nil) != c.want || (h.Call != nil) != c.want {
			t.Errorf("%v: hooks %+v", c.env, h)
		}
		if got != nil {
			if err := got.Close(t.Context()); err != nil {
				t.Errorf("%v: %v", c.env, err)
			}
		}
	}
}

// inMemory is what makes traces, and where they go.
func inMemory(t *testing.T) (*Tracing, *tracetest.InMemoryExporter) {
	t.Helper()
	e := tracetest.NewInMemoryExporter()
	out, err := New(t.Context(), kept{e}, Options{Version: "1.2.3", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return out, e
}

// kept is an exporter whose spans are there after its end.
type kept struct{ *tracetest.InMemoryExporter }

func (kept) Shutdown(context.Context) error { return nil }

// TestRequest: a request is a part of its client's trace, and what is done for it are parts of the request; a call that nobody
// asked for is in no trace.
func TestRequest(t *testing.T) {
	tracing, exported := inMemory(t)
	r := httptest.NewRequest(http.MethodPost, "/v1.50/containers/abc/start", http.NoBody)
	r.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	r, end := tracing.Request(r)
	ctx, done := tracing.Step(r.Context(), "engine.Do")
	refused := errors.New("no")
	for _, on := range []context.Context{ctx, t.Context()} {
		err := tracing.Call()(on, "/containerd.services.tasks.v1.Tasks/Start", nil, nil, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return refused })
		if !errors.Is(err, refused) {
			t.Errorf("the call says %v", err)
		}
	}
	done(nil)
	end("POST /containers/{id}/start", http.StatusInternalServerError)
	if err := tracing.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := exported.GetSpans()
	if len(spans) != 3 {
		t.Fatalf("%d spans: %+v", len(spans), spans)
	}
	call, step, request := spans[0], spans[1], spans[2]
	if call.Name != "containerd.services.tasks.v1.Tasks/Start" || call.Parent.SpanID() != step.SpanContext.SpanID() || call.Status.Code != codes.Error || call.Status.Description != "no" {
		t.Errorf("the call: %+v", call)
	}
	if step.Name != "engine.Do" || step.Parent.SpanID() != request.SpanContext.SpanID() || step.Status.Code != codes.Unset {
		t.Errorf("the step: %+v", step)
	}
	if request.Name != "POST /containers/{id}/start" || request.Status.Code != codes.Error || request.Parent.SpanID().String() != "b7ad6b7169203331" ||
		request.SpanContext.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("the request: %+v", request)
	}
	said := map[string]string{}
	for _, a := range append(request.Attributes, request.Resource.Attributes()...) {
		said[string(a.Key)] = a.Value.String()
	}
	for key, want := range map[string]string{
		"http.request.method": "POST", "http.route": "/containers/{id}/start", "http.response.status_code": "500", "service.name": "linkspand", "service.version": "1.2.3",
	} {
		if said[key] != want {
			t.Errorf("%s is %q, want %q", key, said[key], want)
		}
	}
}

// TestCollector: traces come to a collector, under the name that the environment says; one that refuses them is told of once.
func TestCollector(t *testing.T) {
	var mu sync.Mutex
	bodies, refuse := []string{}, true
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if err != nil || r.URL.Path != "/v1/traces" || refuse {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		bodies = append(bodies, string(body))
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_SERVICE_NAME", "mine")
	log := &strings.Builder{}
	tracing, err := Open(t.Context(), Options{Getenv: variables(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL}), Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for _, refused := range []bool{true, true, false} {
		mu.Lock()
		refuse = refused
		mu.Unlock()
		_, end := tracing.Request(httptest.NewRequest(http.MethodGet, "/info", http.NoBody))
		end("GET /info", http.StatusOK)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := tracing.provider.ForceFlush(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
	if err := tracing.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if len(bodies) != 1 || !strings.Contains(bodies[0], "GET /info") || !strings.Contains(bodies[0], "mine") {
		t.Errorf("the collector has %q", bodies)
	}
	if text := log.String(); strings.Count(text, "traces are not taken") != 1 || strings.Count(text, "traces are taken again") != 1 {
		t.Error(text)
	}
}
