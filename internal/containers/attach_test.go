package containers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// buffer collects what a client is shown.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// attach begins an attach and returns once it is registered.
func (b *bench) attach(id string, o AttachOptions, s Streams) <-chan error {
	b.t.Helper()
	before := b.outputs.count(model.ContainerID(id))
	done := make(chan error, 1)
	go func() { done <- b.Attach(ctx, id, o, s) }()
	soon(b.t, "attached", func() bool { return b.outputs.count(model.ContainerID(id)) > before })
	return done
}

// TestAttachReady: whoever waits for Ready before it starts the container misses
// nothing of what that writes.
func TestAttachReady(t *testing.T) {
	b := newBench(t)
	id := b.create("one", nil)
	var out buffer
	ready := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- b.Attach(ctx, id, AttachOptions{Stdout: true, Stream: true, Ready: func() { close(ready) }}, Streams{Stdout: &out})
	}()
	<-ready
	must(t, b.Start(ctx, id))
	p := b.runtime.process(id)
	_, err := io.WriteString(p.out, "first words\n")
	must(t, err)
	b.runtime.finish(p, 0)
	must(t, <-done)
	if out.String() != "first words\n" {
		t.Fatalf("got %q", out.String())
	}
}

func TestAttachBeforeStart(t *testing.T) {
	b := newBench(t)
	id := b.create("one", func(r *CreateRequest) { r.Config.OpenStdin, r.Config.StdinOnce = true, true })
	var out, errs buffer
	done := b.attach(id, AttachOptions{Stdin: true, Stdout: true, Stderr: true, Stream: true},
		Streams{Stdin: strings.NewReader("typed"), Stdout: &out, Stderr: &errs})
	must(t, b.Start(ctx, id))
	p := b.runtime.process(id)
	soon(t, "input arrives and is closed", func() bool {
		p.in.mu.Lock()
		defer p.in.mu.Unlock()
		return p.in.text.String() == "typed" && p.in.closed
	})
	io.WriteString(p.out, "said")
	io.WriteString(p.err, "complained")
	b.end(id, 0)
	must(t, receive(t, done))
	if out.String() != "said" || errs.String() != "complained" {
		t.Fatalf("out %q, err %q", out.String(), errs.String())
	}
}

func TestAttachReplaysWithoutGap(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	p := b.runtime.process(id)
	io.WriteString(p.out, "before\n")
	var out buffer
	done := b.attach(id, AttachOptions{Stdout: true, Stream: true, Logs: true}, Streams{Stdout: &out})
	io.WriteString(p.out, "after\n")
	b.end(id, 0)
	must(t, receive(t, done))
	if out.String() != "before\nafter\n" {
		t.Fatalf("got %q", out.String())
	}
}

func TestDetach(t *testing.T) {
	b := newBench(t)
	id := b.run("one", func(r *CreateRequest) { r.Config.OpenStdin, r.Config.Tty = true, true })
	in, typed := io.Pipe()
	done := b.attach(id, AttachOptions{Stdin: true, Stdout: true, Stream: true, DetachKeys: "ctrl-a,x"},
		Streams{Stdin: in, Stdout: io.Discard})
	io.WriteString(typed, "ab\x01c\x01x")
	if err := receive(t, done); !errors.Is(err, ErrDetached) {
		t.Fatal(err)
	}
	if got := b.runtime.process(id).in.String(); got != "ab\x01c" {
		t.Fatalf("the process was sent %q", got)
	}
	if !b.inspect(id).State.Running {
		t.Fatal("detaching ended it")
	}
	refused(t, b.Attach(ctx, id, AttachOptions{DetachKeys: "ctrl-1"}, Streams{}), model.Invalid, "Invalid detach keys (ctrl-1) provided")
}

func TestLogs(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	p := b.runtime.process(id)
	var out, errs buffer
	done := make(chan error, 1)
	go func() {
		done <- b.Logs(ctx, id, LogOptions{Stdout: true, Stderr: true, Follow: true, Tail: -1}, Streams{Stdout: &out, Stderr: &errs})
	}()
	io.WriteString(p.out, "half ")
	io.WriteString(p.out, "line\n"+strings.Repeat("y", 16389)+"\nrest")
	io.WriteString(p.err, "oops\n")
	b.end(id, 0)
	must(t, receive(t, done))
	want := "half line\n" + strings.Repeat("y", 16389) + "\nrest"
	if out.String() != want || errs.String() != "oops\n" {
		t.Fatalf("out %d bytes, want %d; err %q", len(out.String()), len(want), errs.String())
	}
	var stamped buffer
	must(t, b.Logs(ctx, id, LogOptions{Stderr: true, Timestamps: true, Tail: -1}, Streams{Stdout: io.Discard, Stderr: &stamped}))
	if _, err := time.Parse("2006-01-02T15:04:05.000000000Z07:00", strings.Fields(stamped.String())[0]); err != nil || !strings.HasSuffix(stamped.String(), " oops\n") {
		t.Fatalf("with timestamps: %q", stamped.String())
	}
	refused(t, b.Logs(ctx, id, LogOptions{}, Streams{}), model.Invalid, "you must choose at least one stream")
	quiet := b.create("quiet", func(r *CreateRequest) { r.Host.LogConfig.Type = "none" })
	refused(t, b.Logs(ctx, quiet, LogOptions{Stdout: true}, Streams{}), model.NotImplemented, "does not support reading")
}

func TestAttachEndsWithClient(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	short, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- b.Attach(short, id, AttachOptions{Stdout: true, Stream: true}, Streams{Stdout: io.Discard})
	}()
	cancel()
	must(t, receive(t, done))
}
