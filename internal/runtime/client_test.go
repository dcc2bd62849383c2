package runtime

import (
	"context"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/process"
)

func TestChildIsAdoptedWithoutARecord(t *testing.T) {
	e := newEngine(t)
	old := e.child()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(e.recordFile()); err != nil {
		t.Fatal(err)
	}
	e.open()
	if e.child() != old {
		t.Errorf("containerd %+v, want the one that runs, %+v", e.child(), old)
	}
	if got, err := process.ReadRecord(e.recordFile()); err != nil || got != old {
		t.Errorf("record %+v %v, want %+v", got, err, old)
	}
}

func TestShutdownEndsTheChildAndStartsAgain(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	old := e.child()
	if err := e.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if old.Alive() {
		t.Error("containerd still runs")
	}
	if err := unix.Kill(c.pid, 0); err != nil {
		t.Errorf("the container ended with it: %v", err)
	}
	e.open()
	if st, err := e.Status(t.Context(), c.ID); err != nil || st.State != model.TaskRunning || st.Pid != c.pid {
		t.Errorf("status %+v %v, want running", st, err)
	}
}

func TestAContainerdThatDoesNotStartIsAnError(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	_, err := Open(t.Context(), Options{DataRoot: dir, ExecRoot: dir, ContainerdPath: "/bin/false"})
	if err == nil || !strings.Contains(err.Error(), "containerd.log") {
		t.Errorf("error %v, want one that names the log", err)
	}
}

func TestStraySnapshotsAreSwept(t *testing.T) {
	e := newEngine(t)
	fact, err := e.Images.ByID(e.client.Scope(t.Context()), e.image.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.bareLayer("stray", fact.Chain); err != nil {
		t.Fatal(err)
	}
	kept := e.spec("true")
	if err := e.Create(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.open()
	if got := e.containerSnapshots(t.Context()); len(got) != 1 || got[0] != string(kept.ID) {
		t.Errorf("snapshots %v, want only %s", got, kept.ID)
	}
}
