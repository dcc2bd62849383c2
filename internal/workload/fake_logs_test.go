package workload

import (
	"bytes"
	"context"
	"io"
	"sync"

	"github.com/linkspan/linkspan/internal/model"
)

// fakeImages knows one image.
type fakeImages struct{}

func (fakeImages) Images(context.Context) ([]model.Image, error) { return nil, nil }

func (fakeImages) Image(_ context.Context, ref string) (model.Image, error) {
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

type fakeLogFile struct {
	logs   *fakeLogs
	path   string
	closed bool
}

func (l *fakeLogs) wakeLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *fakeLogs) Open(path string, _ map[string]string) (LogFile, error) {
	return &fakeLogFile{logs: l, path: path}, nil
}

func (l *fakeLogs) Read(path string, q LogQuery) (LogReader, error) {
	return &fakeLogReader{file: &fakeLogFile{logs: l, path: path, closed: true}, q: q}, nil
}

func (f *fakeLogFile) Append(e LogEntry) error {
	f.logs.mu.Lock()
	defer f.logs.mu.Unlock()
	e.Text = bytes.Clone(e.Text)
	f.logs.entries[f.path] = append(f.logs.entries[f.path], e)
	f.logs.wakeLocked()
	return nil
}

func (f *fakeLogFile) Read(q LogQuery) (LogReader, error) { return &fakeLogReader{file: f, q: q}, nil }

func (f *fakeLogFile) Close() error {
	f.logs.mu.Lock()
	defer f.logs.mu.Unlock()
	f.closed = true
	f.logs.wakeLocked()
	return nil
}

type fakeLogReader struct {
	file *fakeLogFile
	q    LogQuery
	at   int
}

func (r *fakeLogReader) Next(ctx context.Context) (LogEntry, error) {
	l := r.file.logs
	for {
		l.mu.Lock()
		all, changed, closed := l.entries[r.file.path], l.changed, r.file.closed
		l.mu.Unlock()
		if r.at < len(all) {
			r.at++
			if e := all[r.at-1]; r.q.Until.IsZero() || !e.Time.After(r.q.Until) {
				return e, nil
			}
			continue
		}
		if !r.q.Follow || closed {
			return LogEntry{}, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return LogEntry{}, ctx.Err()
		}
	}
}

func (r *fakeLogReader) Close() error { return nil }
