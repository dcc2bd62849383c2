package runtime

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// TestAHungContainerdIsStartedAgain stops a containerd, which then lives and says
// nothing: who asks for something waits until another one answers.
func TestAHungContainerdIsStartedAgain(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.opts.patience = 200 * time.Millisecond
	e.open()
	old := e.child()
	if err := unix.Kill(old.Pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	st, err := e.Status(t.Context(), c.ID)
	if err != nil || st.State != model.TaskRunning || st.Pid != c.pid {
		t.Errorf("status %+v %v, want running", st, err)
	}
	if old.Alive() {
		t.Error("the one that hung still is")
	}
}

// TestAHungContainerdIsAdopted finds one that hung already before this daemon.
func TestAHungContainerdIsAdopted(t *testing.T) {
	e := newEngine(t)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(e.child().Pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	e.opts.patience = 200 * time.Millisecond
	e.open()
	e.start(e.spec("sleep 1000"))
}
