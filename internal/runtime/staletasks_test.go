package runtime

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/process"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

// TestForgottenTask: a daemon was killed after it had a task made and before it
// started it, and another has one that runs.
func TestForgottenTask(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("echo here")
	if err := e.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := e.newTask(spec.ID, model.StreamOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := e.newTask(spec.ID, model.StreamOptions{}); err != nil {
		t.Errorf("a second task in the place of one that was never started: %v", err)
	}
	c := e.start(e.spec("sleep 1000"))
	if _, _, _, err := e.newTask(c.ID, model.StreamOptions{}); model.KindOf(err) != model.Conflict {
		t.Errorf("a task beside one that runs: %v, want Conflict", err)
	}
	if st, err := e.Status(t.Context(), c.ID); err != nil || st.State != model.TaskRunning {
		t.Errorf("status %+v %v, want running", st, err)
	}
	if err := e.Kill(t.Context(), c.ID, unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
}

// TestStartOverABundle: containerd was killed while it made a task; nothing has
// swept its bundle yet.
func TestStartOverABundle(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("echo here")
	if err := e.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(e.bundlePaths(spec.ID)[0], "rootfs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := e.newTask(spec.ID, model.StreamOptions{}); err != nil {
		t.Error(err)
	}
	if sock := socketOf(e, spec.ID); !exists(sock) {
		t.Errorf("%s is not the shim's socket", sock)
	}
	if _, err := e.DeleteTask(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
	if sock := socketOf(e, spec.ID); exists(sock) {
		t.Errorf("%s is left", sock)
	} else if err := os.WriteFile(sock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// One that is never started again, and removed.
	for _, path := range e.bundlePaths(spec.ID) {
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Delete(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
	for _, path := range e.bundlePaths(spec.ID) {
		if exists(path) {
			t.Errorf("%s is left", path)
		}
	}
	if exists(socketOf(e, spec.ID)) {
		t.Error("the socket of its shim is left")
	}
}

// socketOf is where a container's shim listens.
func socketOf(e *engine, id model.ContainerID) string {
	return filepath.Join(socketRoot, fmt.Sprintf("%x", sha256.Sum256([]byte(e.client.Address+"/"+e.opts.Namespace+"/"+string(id)))))
}

// TestDeleteTakesCgroups: a start that was cut short has left cgroups, and a
// process in one.
func TestDeleteTakesCgroups(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("echo here")
	if err := e.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(ocispec.CgroupRoot, "pids")
	if e.host.Cgroup2 {
		root = ocispec.CgroupRoot
	}
	group := filepath.Join(root, ocispec.CgroupPath(spec))
	if err := os.MkdirAll(filepath.Join(group, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	stray := exec.Command("sleep", "1000")
	if err := stray.Start(); err != nil {
		t.Fatal(err)
	}
	pid := []byte(strconv.Itoa(stray.Process.Pid))
	if err := os.WriteFile(filepath.Join(group, "below", "cgroup.procs"), pid, 0o600); err != nil {
		t.Fatal(errors.Join(err, stray.Process.Kill()))
	}
	ended := make(chan error, 1)
	go func() { ended <- stray.Wait() }()
	if err := e.Delete(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
	if exists(group) {
		t.Errorf("%s is left", group)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the process in it goes on", stray.Process.Kill())
	}
}

// TestRequestsWaitForContainerd: whoever asks while it is being started again gets
// an answer, and what it was about when it died is swept.
func TestRequestsWaitForContainerd(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	for range 3 {
		old := e.child()
		unix.Kill(old.Pid, unix.SIGKILL) //nolint:errcheck // checked by what follows
		if st, err := e.Status(t.Context(), c.ID); err != nil || st.State != model.TaskRunning {
			t.Errorf("status %+v %v, want running", st, err)
		}
		eventually(t, func() bool {
			now, err := process.ReadRecord(e.recordFile())
			return err == nil && now != old
		}, func() string { return "containerd is not started again" })
	}
	forgotten := e.bundlePaths(model.ContainerID(randomID()))[0]
	if err := os.MkdirAll(filepath.Join(forgotten, "rootfs"), 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return !exists(forgotten) }, func() string { return "the bundle is left" })
	if err := e.Kill(t.Context(), c.ID, unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
}

func TestVague(t *testing.T) {
	for _, c := range []struct {
		is   *tasktypes.Process
		want bool
	}{
		{&tasktypes.Process{Status: tasktypes.Status_UNKNOWN}, true},
		{&tasktypes.Process{Status: tasktypes.Status_RUNNING}, true},
		{&tasktypes.Process{Status: tasktypes.Status_RUNNING, Pid: 7}, false},
		{&tasktypes.Process{Status: tasktypes.Status_CREATED, Pid: 7}, false},
		{&tasktypes.Process{Status: tasktypes.Status_STOPPED}, false},
	} {
		if got := vague(c.is); got != c.want {
			t.Errorf("%v with pid %d: %t", c.is.Status, c.is.Pid, got)
		}
	}
}

func TestTaskLocks(t *testing.T) {
	var all taskLocks
	release, ok := all.try("one")
	if !ok {
		t.Fatal("nobody has it, and it is refused")
	}
	if _, ok := all.try("one"); ok {
		t.Error("two have it")
	}
	other, ok := all.try("two")
	if !ok {
		t.Fatal("another one is refused")
	}
	other()
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := all.take(late, "one"); model.KindOf(err) != model.Unavailable {
		t.Errorf("waiting in vain: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		release, err := all.take(t.Context(), "one")
		if err == nil {
			release()
		}
		got <- err
	}()
	release()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if len(all.all) != 0 {
		t.Errorf("%d locks are left", len(all.all))
	}
}

// TestStrayStreams: a daemon was killed while it removed a container.
func TestStrayStreams(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	stray := e.Runtime.streams.dir(model.ContainerID(randomID()))
	if err := errors.Join(os.MkdirAll(stray, 0o700), e.Close()); err != nil {
		t.Fatal(err)
	}
	e.open()
	if exists(stray) || !exists(e.Runtime.streams.dir(c.ID)) {
		t.Error("only the streams of containers that are not go")
	}
}

// TestExecInAPause: an exec that is made before a pause is not started in it. The
// shim would wait for what cannot go on, and answer nobody meanwhile.
func TestExecInAPause(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	if _, err := e.Exec(t.Context(), c.ID, "one", model.Process{Args: []string{"true"}}); err != nil {
		t.Fatal(err)
	}
	if err := e.Pause(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := e.StartExec(t.Context(), c.ID, "one"); model.KindOf(err) != model.Conflict {
		t.Errorf("an exec in a paused container: %v, want Conflict", err)
	}
	if _, err := e.Exec(t.Context(), c.ID, "two", model.Process{Args: []string{"true"}}); model.KindOf(err) != model.Conflict {
		t.Errorf("an exec made in a paused container: %v, want Conflict", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.open()
	if _, err := e.Reattach(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := e.StartExec(t.Context(), c.ID, "one"); model.KindOf(err) != model.Conflict {
		t.Errorf("the next daemon: %v, want Conflict", err)
	}
	if err := e.Resume(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Execs.limiter.enter(t.Context(), c.ID); err != nil {
		t.Errorf("after the pause: %v", err)
	}
}

// TestExecUnderAnEnd: runc's words for a container that ended meanwhile are many,
// and none says so.
func TestExecUnderAnEnd(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	words := []error{
		errors.New("exec failed: unable to start container process: error writing config to pipe: write init-p: broken pipe"),
		errors.New("exec failed: unable to create new parent process: namespace path: lstat /proc/35708/ns/ipc: no such file or directory"),
		errors.New("exec failed: container does not exist"),
	}
	ctx := e.client.Scope(t.Context())
	for _, one := range []error{words[0], errors.New("executable file not found in $PATH")} {
		if e.Tasks.processes.diedUnder(ctx, c.ID, one) {
			t.Errorf("it runs: %v", one)
		}
	}
	if err := e.Kill(ctx, c.ID, unix.SIGKILL, true); err != nil {
		t.Fatal(err)
	}
	for _, one := range words {
		if !e.Tasks.processes.diedUnder(ctx, c.ID, one) {
			t.Errorf("it has ended: %v", one)
		}
	}
	if err := e.Pause(ctx, c.ID); model.KindOf(err) != model.NotFound {
		t.Errorf("pause: %v, want NotFound", err)
	}
	if err := e.Resume(ctx, c.ID); model.KindOf(err) != model.NotFound {
		t.Errorf("resume: %v, want NotFound", err)
	}
	if _, err := e.DeleteTask(ctx, c.ID); err != nil {
		t.Error(err)
	}
	if !e.Tasks.processes.diedUnder(ctx, c.ID, words[2]) {
		t.Error("it is not there")
	}
}
