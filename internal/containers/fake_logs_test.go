package containers

import (
	"context"
	"io"
	"sync"

	"github.com/linkspan/linkspan/internal/model"
)

// fakeImages knows one image.
type fakeImages struct{}

func (fakeImages) List(context.Context) ([]model.Image, error) { return nil, nil }

func (fakeImages) Find(_ context.Context, ref string) (model.Image, error) {
	if ref == "tools" {
		return model.Image{ID: "sha256:70015"}, nil
	}
	if ref != "busybox" {
		return model.Image{}, model.Errorf(model.NotFound, "No such image: %s:latest", ref)
	}
	return model.Image{ID: "sha256:0123456789abcdef", Config: model.ImageConfig{
		Env: []string{"PATH=/bin", "A=image"}, Cmd: []string{"sh"}, WorkingDir: "/srv", User: "nobody",
		ExposedPorts: []string{"80/tcp"}, Labels: map[string]string{"from": "image", "who": "image"}, StopSignal: "SIGTERM",
	}}, nil
}

func (fakeImages) Tag(context.Context, string, string) error { return nil }

func (fakeImages) Remove(context.Context, string, bool) (untagged, deleted []string, err error) {
	return nil, nil, nil
}

// fakeLogs keeps logs in memory, one for each path.
type fakeLogs struct {
	mu      sync.Mutex
	entries map[string][]LogEntry
	changed chan struct{}
}

func newFakeLogs() *fakeLogs {
	return &fakeLogs{entries: map[string][]LogEntry{}, changed: make(chan struct{})}
}

func (l *fakeLogs) Read(path string, q LogQuery) (LogReader, error) {
	return &fakeLogReader{logs: l, path: path, q: q}, nil
}

func (l *fakeLogs) append(path string, e LogEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[path] = append(l.entries[path], e)
	l.wakeLocked()
}

// wake makes followers look again.
func (l *fakeLogs) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wakeLocked()
}

func (l *fakeLogs) wakeLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

type fakeLogReader struct {
	logs *fakeLogs
	path string
	q    LogQuery
	at   int
}

func (r *fakeLogReader) Next(ctx context.Context) (LogEntry, error) {
	for {
		ended := false
		select {
		case <-r.q.Ended:
			ended = true
		default:
		}
		r.logs.mu.Lock()
		all, changed := r.logs.entries[r.path], r.logs.changed
		r.logs.mu.Unlock()
		if r.at < len(all) {
			r.at++
			if e := all[r.at-1]; r.q.Until.IsZero() || !e.Time.After(r.q.Until) {
				return e, nil
			}
			continue
		}
		if !r.q.Follow || ended {
			return LogEntry{}, io.EOF
		}
		select {
		case <-changed:
		case <-r.q.Ended:
		case <-ctx.Done():
			return LogEntry{}, ctx.Err()
		}
	}
}

func (r *fakeLogReader) Close() error { return nil }
