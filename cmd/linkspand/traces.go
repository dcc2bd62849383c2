package main

import (
	"context"
	"net/http"
	"os"

	"google.golang.org/grpc"

	"github.com/linkspan/linkspan/internal/tracing"
)

// traces are what the parts of the daemon are handed of its traces: nil, all of it, if there are none.
type traces struct{ *tracing.Tracing }

// open has traces made if the environment asks for them, until the daemon ends.
func (t *traces) open(ctx context.Context, d *daemon) (err error) {
	t.Tracing, err = tracing.Open(ctx, tracing.Options{Getenv: os.Getenv, Version: version, Logger: d.log})
	if t.Tracing != nil {
		d.later(t.Close)
		d.log.Info("traces are sent to a collector", "op", "tracing.start")
	}
	return err
}

func (t traces) request() func(*http.Request) (*http.Request, func(string, int)) {
	if t.Tracing == nil {
		return nil
	}
	return t.Request
}

func (t traces) step() func(context.Context, string) (context.Context, func(error)) {
	if t.Tracing == nil {
		return nil
	}
	return t.Step
}

func (t traces) call() grpc.UnaryClientInterceptor {
	if t.Tracing == nil {
		return nil
	}
	return t.Calls()
}
