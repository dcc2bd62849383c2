package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/keeper/serve"
	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// TestMain lets the test's own program play the keeper.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "--socket" {
		if err := play(os.Args[2], os.Args[len(os.Args)-1] == "--take-over"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// played is a keeper that tells its clients what it was asked to do.
type played struct {
	mu      sync.Mutex
	rows    int
	outputs []wire.HandedOutput
	said    []string
	changed chan struct{}
}

// play is the keeper's main. What differs between releases is the environment.
func play(socket string, takeOver bool) error {
	p := &played{changed: make(chan struct{})}
	program, err := Identify("/proc/self/exe")
	if err != nil {
		return err
	}
	s := serve.New(serve.Options{Rows: p, Outputs: p, Follower: p, Estate: p, Hello: wire.Hello{
		Version: wire.Version, Program: program + os.Getenv("KEEPER_RELEASE"), Pid: os.Getpid(), Release: os.Getenv("KEEPER_RELEASE"),
	}})
	var i *serve.Inheritance
	if takeOver {
		if i, err = serve.Inherit(socket); err != nil {
			return err
		}
		if err := s.Adopt(i); err != nil {
			return err
		}
	}
	os.Remove(socket)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	if i != nil {
		if err := i.Taken(); err != nil {
			return err
		}
	}
	return s.Serve(context.Background(), l)
}

func (p *played) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, fmt.Sprintf(format+"\n", args...))
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *played) Apply(_ context.Context, deltas []desired.Delta) error {
	p.say("apply %d", len(deltas))
	return nil
}

func (p *played) Resync(_ context.Context, want desired.State) (desired.Report, error) {
	p.mu.Lock()
	before := p.rows
	p.rows = want.Len()
	p.mu.Unlock()
	return desired.Report{Writes: want.Len() - before}, nil
}

func (p *played) Check(context.Context, desired.State) (desired.Report, error) {
	return desired.Report{}, nil
}

func (p *played) Open(_ context.Context, o model.Output) error {
	p.mu.Lock()
	p.outputs = append(p.outputs, wire.HandedOutput{Output: o})
	p.mu.Unlock()
	p.say("open %s", o.Container)
	return nil
}

func (p *played) Begun(id model.ContainerID) { p.say("begun %s", id) }

// Drain ends for containers called "short" only.
func (p *played) Drain(ctx context.Context, id model.ContainerID) error {
	p.say("drain %s", id)
	if id == "short" {
		return nil
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (p *played) Close(id model.ContainerID) error { p.say("close %s", id); return nil }
func (p *played) List() []model.Output             { return nil }

func (p *played) Follow(model.ContainerID, bool, bool) serve.Client { return &audience{of: p} }

func (p *played) Release() (wire.Inventory, []wire.Descriptor, error) {
	p.say("release")
	return wire.Inventory{Outputs: p.outputs, Rows: make([]wire.Row, p.rows)}, nil, nil
}

func (p *played) Adopt(i wire.Inventory, _ []wire.Descriptor) error {
	p.rows, p.outputs = len(i.Rows), i.Outputs
	p.say("adopted %d rows and %d outputs", p.rows, len(p.outputs))
	return nil
}

func (p *played) Empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rows == 0 && len(p.outputs) == 0
}

// audience hears all that the keeper was asked to do.
type audience struct {
	of *played
	at int
}

func (a *audience) Joined() time.Time { return time.Now() }
func (a *audience) Close()            {}

func (a *audience) Next(ctx context.Context) (string, []byte, error) {
	for {
		a.of.mu.Lock()
		said, changed := a.of.said, a.of.changed
		a.of.mu.Unlock()
		switch {
		case a.at > 0 && strings.HasPrefix(said[a.at-1], "release"):
			return "", nil, model.Errorf(model.Unavailable, "replaced")
		case a.at > 0 && said[a.at-1] == "close c1\n":
			return "", nil, io.EOF
		case a.at < len(said):
			a.at++
			return "stdout", []byte(said[a.at-1]), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", nil, ctx.Err()
		}
	}
}

// house is a place for keepers.
type house struct {
	t *testing.T
	o Options
}

func newHouse(t *testing.T) *house {
	t.Helper()
	dir := t.TempDir()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &house{t, Options{
		Program: own, Socket: filepath.Join(dir, "k.sock"), Log: filepath.Join(dir, "log", "k.log"), LogLevel: "info",
		Logger: slog.New(slog.DiscardHandler),
	}}
}

// start starts a daemon's side; the keeper is killed when the test ends.
func (h *house) start() *Keeper {
	h.t.Helper()
	k, err := Start(h.t.Context(), h.o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { h.end() })
	return k
}

// end ends the keeper that answers, if one does.
func (h *house) end() {
	l, err := dial(context.Background(), h.o.Socket)
	if err != nil {
		return
	}
	if err := syscall.Kill(l.hello.Pid, syscall.SIGKILL); err != nil {
		h.t.Error(err)
	}
	l.close()
}

func (h *house) stop(k *Keeper) {
	h.t.Helper()
	if err := k.Close(context.Background()); err != nil {
		h.t.Error(err)
	}
}

func state(t *testing.T, n int) desired.State {
	t.Helper()
	var rows []desired.Row
	for i := range n {
		rows = append(rows, desired.Name{Network: "n", Name: fmt.Sprint("c", i), Endpoint: "e"})
	}
	s, err := desired.State{}.Replace("o", rows)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func next(t *testing.T, r *Reader) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, data, err := r.Next(ctx)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(data))
}

func TestAdoption(t *testing.T) {
	h := newHouse(t)
	k := h.start()
	first := k.current().hello.Pid
	if r, err := k.Resync(t.Context(), state(t, 3)); err != nil || r.Writes != 3 {
		t.Fatalf("resync: %+v, %v", r, err)
	}
	h.stop(k)
	k = h.start()
	if pid := k.current().hello.Pid; pid != first {
		t.Fatalf("process %d was replaced by %d", first, pid)
	}
	if r, err := k.Resync(t.Context(), state(t, 3)); err != nil || r.Writes != 0 {
		t.Errorf("resync of what is there: %+v, %v", r, err)
	}
	if _, err := k.Resync(t.Context(), state(t, 0)); err != nil {
		t.Error(err)
	}
	h.stop(k)
	k = h.start()
	defer h.stop(k)
	if pid := k.current().hello.Pid; pid == first {
		t.Error("a keeper with nothing to keep stayed")
	}
}

// TestUpgrade: a keeper of another release hands over, whichever is the newer.
func TestUpgrade(t *testing.T) {
	h := newHouse(t)
	for _, releases := range [][2]string{{"old", ""}, {"", "new"}} {
		t.Setenv("KEEPER_RELEASE", releases[0])
		h.o.Program = copyOf(t, h.o.Program)
		k := h.start()
		if _, err := k.Resync(t.Context(), state(t, 5)); err != nil {
			t.Fatal(err)
		}
		first := k.current().hello.Pid
		out, err := k.Outputs().Follow(t.Context(), "c1", true, true)
		if err != nil {
			t.Fatal(err)
		}
		h.stop(k)
		t.Setenv("KEEPER_RELEASE", releases[1])
		h.o.Program = copyOf(t, h.o.Program)
		second := h.start()
		if pid := second.current().hello.Pid; pid == first {
			t.Error("the keeper was not replaced")
		}
		if err := second.Apply(t.Context(), []desired.Delta{{New: desired.Name{Name: "x"}}}); err != nil {
			t.Errorf("apply after a hand-over: %v", err)
		}
		// The client of the first daemon, whose connection is still open, goes on with
		// the second's keeper.
		for _, want := range []string{"release", "adopted 5 rows and 0 outputs", "apply 1"} {
			if got := next(t, out); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		if _, err := second.Resync(t.Context(), state(t, 0)); err != nil {
			t.Error(err)
		}
		out.Close()
		h.stop(second)
	}
}

// copyOf makes another file of a program, as an installation does.
func copyOf(t *testing.T, program string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "keeper")
	from, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, from); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestDeath: a keeper that dies is started again, told what it read, and its
// clients go on; its rows are lost until the next resync.
func TestDeath(t *testing.T) {
	h := newHouse(t)
	lost := make(chan struct{}, 1)
	h.o.Lost = func() { lost <- struct{}{} }
	k := h.start()
	defer h.stop(k)
	if _, err := k.Resync(t.Context(), state(t, 2)); err != nil {
		t.Fatal(err)
	}
	o := k.Outputs()
	if err := errors.Join(o.Open(t.Context(), model.Output{Container: "c1"}), o.Begun(t.Context(), "c1"),
		o.Open(t.Context(), model.Output{Container: "short"}), o.Close(t.Context(), "short")); err != nil {
		t.Fatal(err)
	}
	out, err := o.Follow(t.Context(), "c1", true, true)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for _, want := range []string{"open c1", "begun c1", "open short", "close short"} {
		if got := next(t, out); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	old := k.current().hello.Pid
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-lost:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told")
	}
	if pid := k.current().hello.Pid; pid == old {
		t.Error("it was not started again")
	}
	delta := []desired.Delta{{New: desired.Name{Name: "x"}}}
	if err := k.Apply(t.Context(), delta); !errors.Is(err, desired.ErrLost) {
		t.Errorf("apply to a keeper that holds nothing: %v", err)
	}
	if r, err := k.Resync(t.Context(), state(t, 2)); err != nil || r.Writes != 2 {
		t.Errorf("resync: %+v, %v", r, err)
	}
	if err := k.Apply(t.Context(), delta); err != nil {
		t.Error(err)
	}
	if err := o.Drain(t.Context(), "short"); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"open c1", "begun c1", "apply 1", "drain short"} {
		if got := next(t, out); got != want {
			t.Errorf("after the death: %q, want %q", got, want)
		}
	}
	if err := o.Close(t.Context(), "c1"); err != nil {
		t.Fatal(err)
	}
	if got := []string{next(t, out), next(t, out)}; got[0] != "close c1" || got[1] != "EOF" {
		t.Errorf("at the end: %q", got)
	}
	if _, err := k.Resync(t.Context(), state(t, 0)); err != nil {
		t.Error(err)
	}
}

// TestFollowEnds with the caller's context.
func TestFollowEnds(t *testing.T) {
	h := newHouse(t)
	k := h.start()
	defer h.stop(k)
	out, err := k.Outputs().Follow(t.Context(), "c1", true, true)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := out.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestMoreThanAMessage: whatever users have asked for, a keeper can be told, also one
// that takes over.
func TestMoreThanAMessage(t *testing.T) {
	h := newHouse(t)
	k := h.start()
	var rows []desired.Row
	var deltas []desired.Delta
	for i := range 17 { // of which no two fit into a part, and all are more than a message
		row := desired.Name{Network: "n", Name: fmt.Sprint(strings.Repeat("x", wire.PartSize-1<<10), i), Endpoint: "e"}
		rows = append(rows, row)
		deltas = append(deltas, desired.Delta{Owner: "o", New: row})
	}
	want, err := desired.State{}.Replace("o", rows)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := k.Resync(t.Context(), want); err != nil || r.Writes != len(rows) {
		t.Errorf("resync: %d writes, %v", r.Writes, err)
	}
	if err := k.Apply(t.Context(), deltas[:3]); err != nil {
		t.Errorf("apply: %v", err)
	}
	// A single row that is longer is refused, and costs nothing else.
	huge := desired.Name{Network: "n", Name: strings.Repeat("x", 65<<20), Endpoint: "e"}
	if err := k.Apply(t.Context(), []desired.Delta{{Owner: "o", New: huge}}); !errors.Is(err, wire.ErrTooLarge) || errors.Is(err, desired.ErrLost) {
		t.Errorf("a row of 65 MiB: %v", err)
	}
	if r, err := k.Resync(t.Context(), want); err != nil || r.Writes != 0 {
		t.Errorf("after it: %d writes, %v", r.Writes, err)
	}
	h.stop(k)
}
