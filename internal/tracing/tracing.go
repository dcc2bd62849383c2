// Package tracing sends traces of what the daemon does to a collector of OpenTelemetry's, if the environment asks for it:
//
//	API request ─▶ Request ─▶ engine ─▶ Step ─▶ containerd ─▶ Call
//	     ╰ traceparent of the client                              ╰─▶ batches ══OTLP══▶ collector
//
// The variables are those of OpenTelemetry's specification (Environment Variable Specification, OTLP exporter
// configuration). It promises that nobody waits for a collector: what one that is slow or away does not take is bounded in
// number, and dropped. Without the variables there is nothing of it.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/linkspan/linkspan/internal/model"
)

// Options are what traces are made of.
type Options struct {
	Getenv  func(name string) string
	Version string // of the daemon
	Logger  *slog.Logger
}

// Tracing makes traces. Its methods may be called from any goroutine.
type Tracing struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// Open returns what makes traces; nil if the environment asks for none: no collector is named, OTEL_SDK_DISABLED is true, or
// OTEL_TRACES_EXPORTER is none. Nothing is sent yet, and no collector need be there. Errors: Invalid for an exporter or a
// protocol that there is not.
func Open(ctx context.Context, o Options) (*Tracing, error) {
	asked, err := isAsked(o.Getenv)
	if err != nil || !asked {
		return nil, err
	}
	exporter, err := newExporter(ctx, o.Getenv)
	if err != nil {
		return nil, err
	}
	return New(ctx, exporter, o)
}

// isAsked tells whether there are to be traces.
func isAsked(getenv func(string) string) (bool, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	switch name := getenv("OTEL_TRACES_EXPORTER"); name {
	case "otlp":
		return true, nil
	case "none":
		return false, nil
	case "": // it would be otlp, to a collector on this host: without a word nothing is sent
		return getenv("OTEL_EXPORTER_OTLP_ENDPOINT")+getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "", nil
	default:
		return false, model.Errorf(model.Invalid, "OTEL_TRACES_EXPORTER is %q: it can be otlp or none", name)
	}
}

// newExporter returns the way to the collector. It reads its own variables: endpoint, headers, certificates, timeout.
func newExporter(ctx context.Context, getenv func(string) string) (sdk.SpanExporter, error) {
	protocol := getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
	if protocol == "" {
		protocol = getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	switch protocol {
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	}
	return nil, model.Errorf(model.Invalid, "OTEL_EXPORTER_OTLP_PROTOCOL is %q: it can be http/protobuf or grpc", protocol)
}

// New returns what makes traces and hands them to an exporter.
func New(ctx context.Context, exporter sdk.SpanExporter, o Options) (*Tracing, error) {
	described, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "linkspand"), attribute.String("service.version", o.Version)),
		resource.WithFromEnv()) // which is heard last: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	p := sdk.NewTracerProvider(sdk.WithBatcher(&told{SpanExporter: exporter, log: o.Logger}), sdk.WithResource(described))
	return &Tracing{provider: p, tracer: p.Tracer("github.com/linkspan/linkspan")}, nil
}

// Hooks are what parts of the daemon are handed, who need not know what becomes of it.
type Hooks struct {
	Request func(*http.Request) (_ *http.Request, end func(route string, status int))
	Step    func(ctx context.Context, name string) (_ context.Context, end func(error))
	Call    grpc.UnaryClientInterceptor
}

// Hooks returns them; nil, all of them, of nil.
func (t *Tracing) Hooks() Hooks {
	if t == nil {
		return Hooks{}
	}
	return Hooks{Request: t.Request, Step: t.Step, Call: t.Call()}
}

// Close sends what is left, until ctx ends.
func (t *Tracing) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// Request begins the span of a request to the API, as a part of the client's trace if that has one (W3C Trace Context).
// end is to be called with the route that the request matched, "GET /networks/{id...}", and the answer's status.
func (t *Tracing) Request(r *http.Request) (_ *http.Request, end func(route string, status int)) {
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := t.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("http.request.method", r.Method)))
	return r.WithContext(ctx), func(route string, status int) {
		if route != "" {
			span.SetName(route)
			_, path, _ := strings.Cut(route, " ")
			span.SetAttributes(attribute.String("http.route", path))
		}
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
		span.End()
	}
}

// Step begins the span of a part of a request. What nobody asked for has none. end is to be called with what came of it.
func (t *Tracing) Step(ctx context.Context, name string) (_ context.Context, end func(error)) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, func(error) {}
	}
	ctx, span := t.tracer.Start(ctx, name)
	return ctx, func(err error) { finish(span, err) }
}

// Call returns what has a call that is made for a request be a step of it.
func (t *Tracing) Call() grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		ctx, end := t.Step(ctx, strings.TrimPrefix(method, "/"))
		err := invoke(ctx, method, request, reply, conn, opts...)
		end(err)
		return err
	}
}

func finish(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// told has it said once that a collector does not take traces, and once that it does again.
type told struct {
	sdk.SpanExporter
	log *slog.Logger

	mu     sync.Mutex
	failed bool
}

// ExportSpans implements sdk.SpanExporter.
func (e *told) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err != nil && !e.failed:
		e.log.Warn("traces are not taken, and dropped", "op", "tracing.export", "err", err)
	case err == nil && e.failed:
		e.log.Info("traces are taken again", "op", "tracing.export")
	}
	e.failed = err != nil
	return nil // it would be said for every batch
}
