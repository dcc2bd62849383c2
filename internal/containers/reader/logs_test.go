package reader

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containers/streams"
	"github.com/linkspan/linkspan/internal/model"
)

// one is the only container there is, and its log.
type one struct {
	driver  string
	ended   chan struct{}
	entries []LogEntry
	asked   LogQuery
	path    string
}

func (o *one) ID() model.ContainerID        { return "one" }
func (o *one) Ended() <-chan struct{}       { return o.ended }
func (o *one) NotRunning() error            { return nil }
func (o *one) Say(events.Action, ...string) {}

func (o *one) Record() containerrecord.Record {
	return containerrecord.Record{ID: "one", Host: &container.HostConfig{LogConfig: container.LogConfig{Type: o.driver}}}
}

func (o *one) Find(string) (Container, error)           { return o, nil }
func (o *one) ByID(model.ContainerID) (Container, bool) { return o, true }
func (o *one) All() []Container                         { return []Container{o} }
func (o *one) Read(p string, q LogQuery) (LogReader, error) {
	o.path, o.asked = p, q
	return o, nil
}

func (o *one) Next(context.Context) (LogEntry, error) {
	if len(o.entries) == 0 {
		return LogEntry{}, io.EOF
	}
	e := o.entries[0]
	o.entries = o.entries[1:]
	return e, nil
}

func (o *one) Close() error { return nil }

func TestLogsAreWrittenAsAsked(t *testing.T) {
	at := time.Date(2024, 5, 6, 7, 8, 9, 10, time.FixedZone("", 3600))
	for _, c := range []struct {
		asked       LogOptions
		stdout, err string
	}{
		{LogOptions{Stdout: true}, "out\n", ""},
		{LogOptions{Stderr: true}, "", "err\n"},
		{LogOptions{Stdout: true, Stderr: true, Timestamps: true}, "2024-05-06T06:08:09.000000010Z out\n", "2024-05-06T06:08:09.000000010Z err\n"},
		{LogOptions{Stdout: true, Details: true}, "a=x+y,b=%2C out\n", ""},
		{LogOptions{Stdout: true, Timestamps: true, Details: true}, "2024-05-06T06:08:09.000000010Z a=x+y,b=%2C out\n", ""},
	} {
		o := &one{entries: []LogEntry{
			{Stream: "stdout", Time: at, Text: []byte("out\n"), Attributes: map[string]string{"b": ",", "a": "x y"}},
			{Stream: streams.Stderr, Time: at, Text: []byte("err\n")},
		}}
		var stdout, stderr bytes.Buffer
		r := New(Options{Containers: o, Logs: o, Dirs: containerfiles.Dirs{Root: "/data"}})
		if err := r.Logs(t.Context(), "one", c.asked, streams.Client{Stdout: &stdout, Stderr: &stderr}); err != nil {
			t.Fatal(err)
		}
		if stdout.String() != c.stdout || stderr.String() != c.err {
			t.Errorf("%+v: %q and %q, want %q and %q", c.asked, stdout.String(), stderr.String(), c.stdout, c.err)
		}
	}
}

// TestOnlyWhatRunsIsFollowed: the log of one that has ended gets no more lines.
func TestOnlyWhatRunsIsFollowed(t *testing.T) {
	dirs := containerfiles.Dirs{Root: "/data"}
	ended := make(chan struct{})
	for _, c := range []struct {
		ended  chan struct{}
		follow bool
	}{{nil, false}, {ended, true}} {
		o := &one{ended: c.ended}
		if _, err := OpenLog(o, dirs, o, LogQuery{Follow: true}); err != nil || o.asked.Follow != c.follow || o.path != dirs.Log("one") {
			t.Errorf("runs %t: %+v of %s, %v", c.ended != nil, o.asked, o.path, err)
		}
	}
	if _, err := OpenLog(&one{}, dirs, &one{driver: "none"}, LogQuery{}); model.KindOf(err) != model.NotImplemented {
		t.Errorf("a log that is not kept: %v", err)
	}
	if err := New(Options{Containers: &one{}}).Logs(t.Context(), "one", LogOptions{}, streams.Client{}); model.KindOf(err) != model.Invalid {
		t.Errorf("no stream: %v", err)
	}
}
