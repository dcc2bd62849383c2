package main

import (
	"context"

	"github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/output/jsonlog"
)

// logs reads json-file logs.
type logs struct{}

// Read implements containers.Logs.
func (logs) Read(path string, q containers.LogQuery) (containers.LogReader, error) {
	r, err := jsonlog.Read(path, jsonlog.ReadOptions{Follow: q.Follow, Since: q.Since, Until: q.Until, Tail: q.Tail, Ended: q.Ended})
	if err != nil {
		return nil, err
	}
	return logReader{r, q.Details}, nil
}

type logReader struct {
	*jsonlog.Reader
	details bool
}

// Next implements containers.LogReader.
func (r logReader) Next(ctx context.Context) (containers.LogEntry, error) {
	e, err := r.Reader.Next(ctx)
	out := containers.LogEntry{Stream: e.Stream, Time: e.Time, Text: e.Line}
	if r.details {
		out.Attributes = e.Attributes.Map()
	}
	return out, err
}
