package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// TestUnreadExec: a daemon died while it started an exec, and now the container ends.
// The next daemon knows that at once, although nobody reads the exec's output.
func TestUnreadExec(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	streams, err := e.Exec(t.Context(), c.ID, "unread", model.Process{Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	closeStreams(streams)
	e.Runtime.streams.forget(procKey{container: c.ID, exec: "unread"})
	began := time.Now()
	e.cutShort(c.ID, func() error {
		_, err := e.client.Tasks().Start(e.client.Scope(t.Context()), &tasks.StartRequest{ContainerID: string(c.ID), ExecID: "unread"})
		return err
	})
	e.open()
	if err := e.Kill(t.Context(), c.ID, unix.SIGKILL, true); err != nil {
		t.Error(err)
	}
	eventually(t, func() bool {
		st, err := e.Status(t.Context(), c.ID)
		return err == nil && st.State == model.TaskStopped
	}, func() string { return "it is not said to have ended" })
	if _, err := e.DeleteTask(t.Context(), c.ID); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > shimPatience/2 {
		t.Errorf("the shim was silent for %s", took)
	}
	if len(e.Runtime.streams.holder.ends) > 0 {
		t.Errorf("ends of FIFOs are kept: %v", e.Runtime.streams.holder.ends)
	}
}

// TestUnreadTask: a daemon and who reads for it died while a task was made. The next
// daemon makes another in its place.
func TestUnreadTask(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("sleep 1000")
	if err := e.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	e.cutShort(spec.ID, func() error {
		_, err := e.NewTask(t.Context(), spec.ID, model.StreamOptions{}) // nobody opens its output
		return err
	})
	e.open()
	if _, _, _, err := e.newTask(spec.ID, model.StreamOptions{}); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > shimPatience/2 {
		t.Errorf("the shim was silent for %s", took)
	}
}

// cutShort closes the runtime as the end of a daemon does as soon as a container's shim
// waits for a reader of output, which begin shall lead to.
func (e *engine) cutShort(id model.ContainerID, begin func() error) {
	e.t.Helper()
	begun := make(chan error, 1)
	go func() { begun <- begin() }()
	eventually(e.t, func() bool { return e.shimWaits(id) }, func() string { return "the shim does not wait for a reader" })
	if err := e.client.Close(); err != nil { // as the end of a process does: containerd sees who asks go away
		e.t.Error(err)
	}
	if err := <-begun; err == nil {
		e.t.Error("a process without a reader was started")
	}
	if err := e.Runtime.Close(); err != nil {
		e.t.Logf("close: %v", err)
	}
}

// shimWaits tells whether a thread of a container's shim waits in open(2) for the
// other end of a FIFO (proc_pid_wchan(5)).
func (e *engine) shimWaits(id model.ContainerID) bool {
	for _, s := range findShims(e.opts.Namespace, e.client.Address) {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", s.process.Pid))
		for _, thread := range threads {
			where, err := os.ReadFile(thread)
			if err == nil && s.container == id && strings.HasPrefix(string(where), "wait_for_partner") {
				return true
			}
		}
	}
	return false
}
