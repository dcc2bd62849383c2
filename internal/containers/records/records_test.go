package records

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// engine runs ops without a kernel.
type engine struct {
	now     *state.Snapshot
	refuses int // so many of the next
}

var errRefused = errors.New("refused")

func (e *engine) Do(ctx context.Context, op ops.Op) (*state.Snapshot, error) {
	if e.refuses > 0 {
		e.refuses--
		return nil, errRefused
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	tx := ops.Begin(e.now, facts.Set{}, nil)
	if err := op(tx); err != nil {
		return nil, err
	}
	e.now, _ = tx.Commit()
	return e.now, nil
}

func (e *engine) Snapshot() *state.Snapshot { return e.now }

// made returns a state with a container "one" whose sandbox is up.
func made(t *testing.T) (Records, *engine, containerrecord.Record) {
	t.Helper()
	e := &engine{now: state.Empty()}
	s := Records{Engine: e, Log: slog.New(slog.DiscardHandler)}
	r := containerrecord.Record{ID: "c1", Name: "one", Sandbox: "s1", Config: &container.Config{}, Host: &container.HostConfig{}}
	must(t, s.Create(t.Context(), r, ops.CreateSandbox(model.Sandbox{ID: "s1", Container: "c1", Name: "one", Mode: model.SandboxOwn}, nil)))
	must(t, s.Commit(t.Context(), r, ops.StartSandbox("s1")))
	return s, e, r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stored returns the record that the state has.
func (e *engine) stored(t *testing.T) containerrecord.Record {
	t.Helper()
	c, _ := e.now.Container("c1")
	r, err := containerrecord.Decode("c1", c.Document)
	must(t, err)
	if c.Name != r.Name {
		t.Errorf("%s is stored under the name %s", r.Name, c.Name)
	}
	return r
}

func TestRecordAndSandboxAreOneOp(t *testing.T) {
	s, e, r := made(t)
	ended := r
	ended.State.ExitCode = 7
	e.refuses = 1
	if err := s.TakeDown(t.Context(), ended, false); !errors.Is(err, errRefused) {
		t.Fatal(err)
	}
	if sb, _ := e.now.Sandbox("s1"); !sb.Up || e.stored(t).State.ExitCode != 0 {
		t.Error("half an end is stored")
	}
	must(t, s.TakeDown(t.Context(), ended, false))
	if sb, _ := e.now.Sandbox("s1"); sb.Up || e.stored(t).State.ExitCode != 7 {
		t.Error("an end is not stored")
	}
	renamed := ended
	renamed.Name = "two"
	must(t, s.Rename(t.Context(), renamed))
	if sb, _ := e.now.Sandbox("s1"); sb.Name != "two" || e.stored(t).Name != "two" {
		t.Errorf("the sandbox is called %s", sb.Name)
	}
	if err := s.Create(t.Context(), containerrecord.Record{ID: "c2", Name: "two"}); model.KindOf(err) != model.Conflict {
		t.Errorf("another gets the name: %v", err)
	}
}

// TestSaveOutlivesItsCaller: what has happened is stored though nobody waits.
func TestSaveOutlivesItsCaller(t *testing.T) {
	s, e, r := made(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	r.RestartCount = 3
	must(t, s.Save(gone, r))
	if got := e.stored(t).RestartCount; got != 3 {
		t.Errorf("restart count %d", got)
	}
	e.refuses = 1
	if err := s.Save(gone, r); !errors.Is(err, errRefused) || err.Error() != "store record of container c1: refused" {
		t.Errorf("error %v", err)
	}
}

func TestForget(t *testing.T) {
	for refuses, want := range map[int]model.SandboxID{0: "", 1: "s1"} {
		s, e, _ := made(t)
		e.refuses = refuses
		held, err := s.Forget(t.Context(), "c1")
		must(t, err)
		if _, there := e.now.Sandbox("s1"); held != want || there != (want != "") {
			t.Errorf("after %d refusals the sandbox %q is held, and there: %t", refuses, held, there)
		}
		if _, taken := e.now.ContainerNamed("one"); taken {
			t.Error("the name is somebody's")
		}
	}
	s, e, _ := made(t)
	e.refuses = 2
	if _, err := s.Forget(t.Context(), "c1"); !errors.Is(err, errRefused) || e.stored(t).Name != "one" {
		t.Errorf("error %v", err)
	}
}
