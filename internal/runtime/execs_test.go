package runtime

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

func TestExecWithTerminalAndInput(t *testing.T) {
	e := newEngine(t)
	ctx := t.Context()
	c := e.start(e.spec("sleep 1000"))
	s, err := e.Exec(ctx, c.ID, "tty", model.Process{TTY: true, Stdin: true, Width: 70, Height: 20,
		Args: []string{"sh", "-c", "stty size; read x; stty size; echo $TERM $x"}})
	if err != nil {
		t.Fatal(err)
	}
	if s.Stderr != nil {
		t.Error("a terminal has a separate standard error")
	}
	out := drain(s.Stdout)
	if _, err := e.StartExec(ctx, c.ID, "tty"); err != nil {
		t.Fatal(err)
	}
	done, err := e.WaitExec(ctx, c.ID, "tty")
	if err != nil {
		t.Fatal(err)
	}
	out.contains(t, "20 70\r\n")
	if err := e.ResizeExec(ctx, c.ID, "tty", 90, 30); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stdin.Write([]byte("word\n")); err != nil {
		t.Fatal(err)
	}
	receive(t, done)
	out.contains(t, "30 90\r\nxterm word\r\n")
	out.wait(t)
	if err := s.Stdin.Close(); err != nil {
		t.Error(err)
	}
	if exit, err := e.DeleteExec(ctx, c.ID, "tty"); err != nil || exit.Code != 0 {
		t.Errorf("delete exec: %+v %v", exit, err)
	}
}

// Input that is closed before the exec starts must reach it all the same, and
// then end.
func TestExecInputClosedEarly(t *testing.T) {
	e := newEngine(t)
	ctx := t.Context()
	c := e.start(e.spec("sleep 1000"))
	s, err := e.Exec(ctx, c.ID, "cat", model.Process{Stdin: true, Args: []string{"cat"}})
	if err != nil {
		t.Fatal(err)
	}
	out := drain(s.Stdout)
	drain(s.Stderr)
	if _, err := s.Stdin.Write([]byte("early\n")); err != nil {
		t.Fatal(err)
	}
	if err := s.Stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.StartExec(ctx, c.ID, "cat"); err != nil {
		t.Fatal(err)
	}
	out.wait(t)
	if out.String() != "early\n" {
		t.Errorf("output %q", out)
	}
}

func TestExecKilledAndNeverStarted(t *testing.T) {
	e := newEngine(t)
	ctx := t.Context()
	c := e.start(e.spec("sleep 1000"))
	s, err := e.Exec(ctx, c.ID, "k", model.Process{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.StartExec(ctx, c.ID, "k"); err != nil {
		t.Fatal(err)
	}
	done, err := e.WaitExec(ctx, c.ID, "k")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.KillExec(ctx, c.ID, "k", unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if exit := receive(t, done); exit.Code != 143 {
		t.Errorf("exit %+v, want 143", exit)
	}
	closeStreams(s)
	if s, err = e.Exec(ctx, c.ID, "never", model.Process{Args: []string{"true"}}); err != nil {
		t.Fatal(err)
	}
	out := drain(s.Stdout)
	drain(s.Stderr)
	if _, err := e.DeleteExec(ctx, c.ID, "never"); err != nil {
		t.Errorf("delete of an exec that never started: %v", err)
	}
	out.wait(t)
	if _, err := e.Exec(ctx, c.ID, "../x", model.Process{Args: []string{"true"}}); model.KindOf(err) != model.Invalid {
		t.Errorf("exec id with a path: %v, want Invalid", err)
	}
}

func TestTaskNeverStarted(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("true")
	if err := e.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	s, _, begun, err := e.newTask(spec.ID, model.StreamOptions{Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	out := drain(s.Stdout)
	drain(s.Stderr)
	if st, err := e.Status(t.Context(), spec.ID); err != nil || st.State != model.TaskCreated {
		t.Errorf("status %+v %v, want created", st, err)
	}
	if exit, err := e.DeleteTask(t.Context(), spec.ID); err != nil || exit.Code != 137 {
		t.Errorf("delete of a task that never started: %+v %v", exit, err)
	}
	begun()
	out.wait(t)
	if err := s.Stdin.Close(); err != nil {
		t.Error(err)
	}
	if _, err := e.DeleteTask(t.Context(), spec.ID); model.KindOf(err) != model.NotFound {
		t.Errorf("second delete: %v, want NotFound", err)
	}
}

// TestManyExecs: forty at once take about as long as forty one after the other.
// Without the gate the shim needs half a minute for them.
func TestManyExecs(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			id := fmt.Sprintf("many%d", i)
			s, err := e.Exec(ctx, c.ID, id, model.Process{Args: []string{"true"}})
			if err != nil {
				t.Error(err)
				return
			}
			drain(s.Stdout)
			drain(s.Stderr)
			ended, err := e.WaitExec(ctx, c.ID, id)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := e.StartExec(ctx, c.ID, id); err != nil {
				t.Error(err)
			}
			if exit, ok := <-ended; !ok || exit.Code != 0 {
				t.Errorf("%s ended with %d (%t)", id, exit.Code, ok)
			}
			if _, err := e.DeleteExec(ctx, c.ID, id); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestKilledExecLeavesNothing: what a shell has started does not outlive it.
func TestKilledExecLeavesNothing(t *testing.T) {
	e := newEngine(t)
	ctx := t.Context()
	c := e.start(e.spec("sleep 1000"))
	s, err := e.Exec(ctx, c.ID, "group", model.Process{Args: []string{"sh", "-c", "sleep 1000 & sleep 1000; true"}})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStreams(s)
	if _, err := e.StartExec(ctx, c.ID, "group"); err != nil {
		t.Fatal(err)
	}
	processes := func(want int) {
		t.Helper()
		var got []int
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // poll
			if got, err = e.Pids(ctx, c.ID); err == nil && len(got) == want {
				return
			}
		}
		t.Fatalf("processes %v (%v), want %d", got, err, want)
	}
	processes(4)
	if err := e.KillExec(ctx, c.ID, "group", unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	processes(1)
	if err := e.KillExec(ctx, c.ID, "nobody", unix.SIGKILL); model.KindOf(err) != model.NotFound {
		t.Errorf("an exec that is not there: %v, want NotFound", err)
	}
}
