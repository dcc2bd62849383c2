package exec

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containers/exectest"
	"github.com/linkspan/linkspan/internal/containers/streams"
	"github.com/linkspan/linkspan/internal/model"
)

// bench returns execs on a fake runtime, in containers that run.
func bench(t *testing.T) (*Execs, *exectest.Runtime) {
	t.Helper()
	r, next := &exectest.Runtime{}, 0
	return New(Options{
		Find:    func(ref string) (Container, error) { return exectest.Container(ref), nil },
		Runtime: r, NewID: func() string { next++; return fmt.Sprint(next) },
		Closed: t.Context(), Work: &sync.WaitGroup{}, Log: slog.New(slog.DiscardHandler),
	}), r
}

// make makes an exec that is not started.
func (x *Execs) make(t *testing.T, c string, r container.ExecCreateRequest) string {
	t.Helper()
	if r.Cmd == nil {
		r.Cmd = []string{"true"}
	}
	id, err := x.CreateExec(t.Context(), c, r)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func refused(t *testing.T, err error, kind model.Kind, text string) {
	t.Helper()
	if err == nil || model.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Fatalf("got error %v (kind %d), want kind %d with %q", err, model.KindOf(err), kind, text)
	}
}

// TestOldExecIsForgotten: execs that nobody starts do not stay for ever.
func TestOldExecIsForgotten(t *testing.T) {
	x, _ := bench(t)
	old := x.make(t, "one", container.ExecCreateRequest{})
	e, err := x.find(old)
	if err != nil {
		t.Fatal(err)
	}
	e.created = time.Now().Add(-2 * keptFor)
	x.make(t, "one", container.ExecCreateRequest{})
	_, err = x.InspectExec(t.Context(), old)
	refused(t, err, model.NotFound, "No such exec instance")
	if got := len(x.Unended("one")); got != 1 {
		t.Fatalf("%d execs are known", got)
	}
	x.Forget("one")
	if len(x.Unended("one")) != 0 || len(x.byID) != 0 || len(x.byContainer) != 0 {
		t.Error("execs of a removed container stay")
	}
}

// TestExecsAreForgotten: those that do not run take a bounded amount of memory,
// whosever they are.
func TestExecsAreForgotten(t *testing.T) {
	x, r := bench(t)
	large := strings.Repeat("x", 1<<20)
	running := x.make(t, "one", container.ExecCreateRequest{Env: []string{"X=" + large}})
	r.Play(exectest.Script{Hangs: true})
	if err := x.StartExec(t.Context(), running, Start{Detach: true}, streams.Client{}); err != nil {
		t.Fatal(err)
	}
	var made []string
	for range 100 {
		made = append(made, x.make(t, "two", container.ExecCreateRequest{Cmd: []string{"x", large}}))
	}
	sum, count := 0, 0
	for _, e := range x.byID {
		if left, idle := e.idle(); idle {
			sum += left.bytes
			count++
		}
	}
	if sum > maxBytes || count < 10 || len(x.byContainer["two"]) != count {
		t.Errorf("%d execs, %d bytes", count, sum)
	}
	if _, err := x.InspectExec(t.Context(), running); err != nil {
		t.Errorf("one that runs was forgotten: %v", err)
	}
	_, err := x.InspectExec(t.Context(), made[0])
	refused(t, err, model.NotFound, "No such exec instance")
	if err := x.StartExec(t.Context(), made[99], Start{Detach: true}, streams.Client{}); err != nil {
		t.Fatal(err)
	}
}

func TestSizeOfWhatIsNeverStarted(t *testing.T) {
	x, r := bench(t)
	e, err := x.find(x.make(t, "one", container.ExecCreateRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	refused(t, e.awaitBegun(t.Context(), time.Millisecond), model.Internal, "timeout waiting for exec session ready")
	r.FailStart(errors.New("broken"))
	if err := x.StartExec(t.Context(), e.id, Start{}, streams.Client{}); err == nil {
		t.Fatal("started")
	}
	refused(t, x.ResizeExec(t.Context(), e.id, 80, 25), model.Conflict, "is not running")
}
