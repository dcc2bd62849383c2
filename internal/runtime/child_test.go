package runtime

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

func TestChildConfig(t *testing.T) {
	got := string(childConfig("/d", "/x"))
	for _, want := range []string{"version = 2\n", "root = \"/d/root\"\n", "state = \"/x/state\"\n",
		"address = \"/x/containerd.sock\"\n", "\"io.containerd.grpc.v1.cri\","} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q in\n%s", want, got)
		}
	}
}

func TestChildIsAdoptedWithoutARecord(t *testing.T) {
	e := newEngine(t)
	old := e.child.proc.id
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(e.child.record()); err != nil {
		t.Fatal(err)
	}
	e.open()
	if e.child.proc.id != old {
		t.Errorf("containerd %+v, want the one that runs, %+v", e.child.proc.id, old)
	}
	if got, err := readRecord(e.child.record()); err != nil || got != old {
		t.Errorf("record %+v %v, want %+v", got, err, old)
	}
}

func TestShutdownEndsTheChildAndStartsAgain(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	old := e.child.proc.id
	if err := e.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if old.alive() {
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

func TestLongLogIsPutAside(t *testing.T) {
	c := &child{data: t.TempDir()}
	path := filepath.Join(c.data, "containerd.log")
	if err := os.WriteFile(path, make([]byte, logLimit+1), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := c.openLog()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("log %v %v, want empty", info, err)
	}
	if info, err := os.Stat(path + ".1"); err != nil || info.Size() != logLimit+1 {
		t.Errorf("old log %v %v", info, err)
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
	fact, err := e.imageByID(e.scope(t.Context()), e.image.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.prepareSnapshot(e.scope(t.Context()), "stray", fact.chain); err != nil {
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
