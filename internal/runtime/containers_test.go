package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/process"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

func TestLifeOfAContainer(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("echo out; echo err >&2; exit 3"))
	if exit := c.end(); exit.Code != 3 || exit.At.IsZero() || exit.OOMKilled {
		t.Errorf("exit %+v, want code 3", exit)
	}
	if c.out.String() != "out\n" || c.err.String() != "err\n" {
		t.Errorf("stdout %q stderr %q", c.out, c.err)
	}
	if _, err := e.Status(t.Context(), c.ID); model.KindOf(err) != model.NotFound {
		t.Errorf("status after delete: %v, want NotFound", err)
	}
}

func TestOutputIsNeverLost(t *testing.T) {
	e := newEngine(t)
	const lines = 20000
	for range 5 {
		out, _ := e.run(e.spec(fmt.Sprintf("seq 1 %d", lines)))
		if got := strings.Count(out, "\n"); got != lines || !strings.HasSuffix(out, fmt.Sprintf("\n%d\n", lines)) {
			t.Fatalf("%d lines, want %d; end %q", got, lines, out[max(0, len(out)-20):])
		}
	}
	c := e.start(e.spec("sleep 1000"))
	for range 10 {
		out, _, _ := c.exec(model.Process{Args: []string{"seq", "1", "3000"}})
		if !strings.HasSuffix(out, "\n3000\n") {
			t.Fatalf("exec output ends %q", out[max(0, len(out)-20):])
		}
	}
}

func TestConfinement(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("cat /proc/self/status; mount; head -c1 /proc/interrupts | wc -c; echo > /proc/sys/kernel/hostname; hostname; " +
		"sysctl net.ipv4.ip_unprivileged_port_start; ls /sys/class/net; touch /sys/x; echo end")
	spec.SecurityOpts = []string{"no-new-privileges"}
	out, _ := e.run(spec)
	for _, want := range []string{
		"CapEff:\t00000000a80425fb\n", "CapPrm:\t00000000a80425fb\n", "CapBnd:\t00000000a80425fb\n",
		"CapInh:\t0000000000000000\n", "CapAmb:\t0000000000000000\n",
		"Seccomp:\t2\n", "NoNewPrivs:\t1\n", "\n0\nbox\n", "port_start = 0\n", "\nlo\nend\n",
		"sysfs on /sys type sysfs (ro,", "shm on /dev/shm type tmpfs (rw,nosuid,nodev,noexec,relatime,size=65536k",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestPrivileged(t *testing.T) {
	e := newEngine(t)
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	var want string
	for line := range strings.Lines(string(own)) {
		if strings.HasPrefix(line, "CapEff:") {
			want = line
		}
	}
	spec := e.spec("cat /proc/self/status; mount | grep ' /sys '; ls /dev/net/tun")
	spec.Privileged = true
	out, exit := e.run(spec)
	if exit.Code != 0 || !strings.Contains(out, want) || !strings.Contains(out, "Seccomp:\t0\n") ||
		!strings.Contains(out, "sysfs (rw,") {
		t.Errorf("exit %+v, want %q, got\n%s", exit, want, out)
	}
}

func TestHostNetworkAndBinds(t *testing.T) {
	e := newEngine(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "note"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	spec := e.spec("cat /data/note; touch /data/x || echo readonly; touch /t/x && echo tmpfs; ls -l /proc/self/ns/net; mount | grep ' /sys '")
	spec.Netns = ""
	spec.Mounts = []model.Mount{
		{Type: "bind", Source: dir, Target: "/data/", ReadOnly: true},
		{Type: "tmpfs", Target: "/t", Options: []string{"size=1m"}},
	}
	out, _ := e.run(spec)
	for _, want := range []string{"hello\n", "readonly\n", "tmpfs\n", ours, "sysfs (ro,"} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q in\n%s", want, out)
		}
	}
}

func TestUserAndEnvironment(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("id; env; pwd; cat /proc/self/status | grep CapEff")
	spec.Process.User, spec.Process.ExtraGroups = "web", []string{"log"}
	spec.Process.Dir, spec.Process.Env = "/srv", []string{"COLOUR=red"}
	out, _ := e.run(spec)
	for _, want := range []string{"uid=1000(web) gid=1001(web) groups=1001(web),1002(ops),1003(log)\n",
		"HOSTNAME=box\n", "COLOUR=red\n", "HOME=/home/web\n", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n", "\n/srv\n", "CapEff:\t0000000000000000\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q in\n%s", want, out)
		}
	}
	spec = e.spec("true")
	spec.Process.User = "nobody-here"
	err := e.Create(t.Context(), spec)
	if model.KindOf(err) != model.Invalid || !strings.HasPrefix(err.Error(), "unable to find user nobody-here") {
		t.Errorf("unknown user: %v", err)
	}
}

func TestExec(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	out, errOut, exit := c.exec(model.Process{Args: []string{"sh", "-c", "id -u; echo oops >&2; exit 42"}, User: "web"})
	if out != "1000\n" || errOut != "oops\n" || exit.Code != 42 {
		t.Errorf("stdout %q stderr %q exit %+v", out, errOut, exit)
	}
	pids, err := e.Pids(t.Context(), c.ID)
	if err != nil || !slices.Contains(pids, c.pid) {
		t.Errorf("pids %v %v, want %d among them", pids, err, c.pid)
	}
	s, err := e.Exec(t.Context(), c.ID, "nosuch", model.Process{Args: []string{"/no/such"}})
	if err != nil {
		t.Fatal(err)
	}
	stdout := drain(s.Stdout)
	drain(s.Stderr)
	if _, err := e.StartExec(t.Context(), c.ID, "nosuch"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("start of a missing program: %v", err)
	}
	stdout.wait(t)
	if _, err := e.DeleteExec(t.Context(), c.ID, "nosuch"); err != nil {
		t.Errorf("delete exec: %v", err)
	}
}

func TestStdin(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("cat; echo end")
	spec.Process.Stdin = true
	c := e.start(spec)
	for i := range 2000 {
		if _, err := fmt.Fprintf(c.streams.Stdin, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.streams.Stdin.Close(); err != nil {
		t.Fatal(err)
	}
	c.end()
	if out := c.out.String(); strings.Count(out, "line") != 2000 || !strings.HasSuffix(out, "line 1999\nend\n") {
		t.Errorf("%d lines, end %q", strings.Count(out, "line"), out[max(0, len(out)-30):])
	}
}

func TestTerminal(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("stty size; read x; stty size; env")
	spec.Process.TTY, spec.Process.Stdin = true, true
	spec.Process.Width, spec.Process.Height = 81, 25
	c := e.start(spec)
	c.out.contains(t, "25 81\r\n")
	if err := e.Resize(t.Context(), c.ID, 132, 43); err != nil {
		t.Fatal(err)
	}
	if _, err := c.streams.Stdin.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	c.end()
	if out := c.out.String(); !strings.Contains(out, "43 132\r\n") || !strings.Contains(out, "TERM=xterm\r\n") {
		t.Errorf("output %q", out)
	}
}

func TestKillPauseAndCleanup(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	if err := e.Kill(t.Context(), c.ID, unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	if exit := c.end(); exit.Code != 137 {
		t.Errorf("exit %+v, want 137", exit)
	}
	c = e.start(e.spec("sleep 1000"))
	if err := e.Pause(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if st, err := e.Status(t.Context(), c.ID); err != nil || st.State != model.TaskPaused || st.Pid != c.pid {
		t.Errorf("status %+v %v, want paused", st, err)
	}
	if exit, err := e.DeleteTask(t.Context(), c.ID); err != nil || exit.Code != 137 {
		t.Errorf("delete of a paused task: %+v %v", exit, err)
	}
	if st, err := e.Status(t.Context(), c.ID); err != nil || st.State != model.TaskNone {
		t.Errorf("status %+v %v, want none", st, err)
	}
}

func TestLimits(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("x=a; while true; do x=$x$x; done")
	spec.Resources = model.Resources{Memory: 16 << 20, MemorySwap: 16 << 20, NanoCPUs: 5e8, Pids: 50}
	if _, exit := e.run(spec); exit.Code != 137 || !exit.OOMKilled {
		t.Errorf("exit %+v, want 137 for lack of memory", exit)
	}
	spec = e.spec("sleep 1000")
	spec.Resources.Memory = 64 << 20
	c := e.start(spec)
	if err := e.Update(t.Context(), c.ID, model.Resources{Memory: 32 << 20, CPUShares: 77}); err != nil {
		t.Fatal(err)
	}
	if e.host.Cgroup2 {
		return
	}
	for file, want := range map[string]string{"memory/%s/memory.limit_in_bytes": "33554432", "cpu/%s/cpu.shares": "77"} {
		raw, err := os.ReadFile(filepath.Join(ocispec.CgroupRoot, fmt.Sprintf(file, ocispec.CgroupPath(c.ContainerSpec))))
		if err != nil || strings.TrimSpace(string(raw)) != want {
			t.Errorf("%s: %q %v, want %s", file, raw, err, want)
		}
	}
}

func TestFailedStartLeavesNothing(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("")
	spec.Process.Args = []string{"nosuch"}
	if err := e.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	_, err := e.NewTask(t.Context(), spec.ID, model.StreamOptions{})
	if err == nil || !strings.Contains(err.Error(), `exec: "nosuch": executable file not found in $PATH`) ||
		!strings.HasPrefix(err.Error(), "failed to create task for container: ") {
		t.Errorf("error %v", err)
	}
	var start *model.StartError
	if !errors.As(err, &start) || start.Code != 127 || model.KindOf(err) != model.Invalid {
		t.Errorf("error %v of kind %v, want Invalid with code 127", err, model.KindOf(err))
	}
	if st, err := e.Status(t.Context(), spec.ID); err != nil || st.State != model.TaskNone {
		t.Errorf("status %+v %v, want none", st, err)
	}
	if err := e.Create(t.Context(), spec); model.KindOf(err) != model.Conflict {
		t.Errorf("second create: %v, want Conflict", err)
	}
	spec.ID, spec.Image = model.ContainerID(randomID()), "sha256:"+model.ImageID(randomID())
	if err := e.Create(t.Context(), spec); model.KindOf(err) != model.NotFound {
		t.Errorf("create from a missing image: %v, want NotFound", err)
	}
}

func TestContainerdKilled(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("echo one; read x; echo two $x; exit 7")
	spec.Process.Stdin = true
	c := e.start(spec)
	c.out.contains(t, "one\n")
	old := e.child()
	unix.Kill(old.Pid, unix.SIGKILL) //nolint:errcheck // checked by what follows
	var st model.TaskStatus
	eventually(t, func() bool {
		id, err := process.ReadRecord(e.recordFile())
		if err != nil || id == old {
			return false
		}
		st, err = e.Status(context.Background(), c.ID)
		return err == nil
	}, func() string { return "containerd does not come back" })
	if st.State != model.TaskRunning || st.Pid != c.pid {
		t.Errorf("status %+v, want running with pid %d", st, c.pid)
	}
	if _, err := c.streams.Stdin.Write([]byte("in\n")); err != nil {
		t.Fatal(err)
	}
	if exit := c.end(); exit.Code != 7 {
		t.Errorf("exit %+v, want 7", exit)
	}
	if c.out.String() != "one\ntwo in\n" {
		t.Errorf("output %q", c.out)
	}
}

// TestContainerdKilledAmidPause: whenever containerd dies, a pause and a resume have
// happened once they are answered.
func TestContainerdKilledAmidPause(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	for _, moment := range []time.Duration{0, 5 * time.Millisecond, 15 * time.Millisecond} {
		for _, change := range []struct {
			to model.TaskState
			do func(context.Context, model.ContainerID) error
		}{{model.TaskPaused, e.Pause}, {model.TaskRunning, e.Resume}} {
			done := make(chan error, 1)
			go func() { done <- change.do(t.Context(), c.ID) }()
			time.Sleep(moment) // into the request
			record, err := process.ReadRecord(e.recordFile())
			if err != nil {
				t.Fatal(err)
			}
			unix.Kill(record.Pid, unix.SIGKILL) //nolint:errcheck // it has gone or goes
			if err := <-done; err != nil {
				t.Fatalf("containerd killed after %s: %v", moment, err)
			}
			if st, err := e.Status(t.Context(), c.ID); err != nil || st.State != change.to {
				t.Errorf("containerd killed after %s: status %+v %v, want %v", moment, st, err, change.to)
			}
		}
	}
}

// TestHalfAPause: a pause of which containerd died after the processes were stopped and
// before their shim knew is completed, as is such a resume.
func TestHalfAPause(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	_, spec, err := e.Tasks.processes.specs.load(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	f, err := freezerOf(e.Tasks.processes.cgroup2, spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct {
		frozen bool
		to     model.TaskState
		do     func(context.Context, model.ContainerID) error
	}{{true, model.TaskPaused, e.Pause}, {false, model.TaskRunning, e.Resume}} {
		if err := f.set(t.Context(), change.frozen); err != nil {
			t.Fatal(err)
		}
		if err := change.do(t.Context(), c.ID); err != nil {
			t.Errorf("frozen %t: %v", change.frozen, err)
		}
		if st, err := e.Status(t.Context(), c.ID); err != nil || st.State != change.to {
			t.Errorf("status %+v %v, want %v", st, err, change.to)
		}
		if so, err := f.is(change.frozen); err != nil || !so {
			t.Errorf("the cgroup: frozen is not %t, %v", change.frozen, err)
		}
	}
}

func TestReattach(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("echo one; read x; echo two; read x; echo three; exit 9")
	spec.Process.Stdin = true
	c := e.start(spec)
	c.out.contains(t, "one\n")
	child := e.child()
	// The daemon goes away: its file descriptors close, containerd stays.
	c.streams.Stdout.Close()
	c.streams.Stderr.Close()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.open()
	if e.child() != child {
		t.Errorf("containerd %+v is not the one before, %+v", e.child(), child)
	}
	s, pid, err := e.reattach(c.ID)
	if err != nil || pid != c.pid {
		t.Fatalf("reattach: pid %d %v, want %d", pid, err, c.pid)
	}
	c.streams, c.out, c.err = s, drain(s.Stdout), drain(s.Stderr)
	if c.exit, err = e.Wait(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Stdin.Write([]byte("go\n")); err != nil {
			t.Fatal(err)
		}
	}
	if exit := c.end(); exit.Code != 9 || c.out.String() != "two\nthree\n" {
		t.Errorf("exit %+v output %q", exit, c.out)
	}
}

func TestExitWhileAway(t *testing.T) {
	e := newEngine(t)
	spec := e.spec("read x; exit 5")
	spec.Process.Stdin = true
	c := e.start(spec)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.streams.Stdin.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return unix.Kill(c.pid, 0) != nil }, func() string { return "it does not end" })
	e.open()
	s, _, err := e.reattach(c.ID)
	if err != nil {
		t.Fatal(err)
	}
	drain(s.Stdout).wait(t) // the end is seen at once
	c.streams.Stdin = s.Stdin
	if c.exit, err = e.Wait(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if exit := c.end(); exit.Code != 5 {
		t.Errorf("exit %+v, want 5", exit)
	}
}

// TestForgottenLayer puts a folder where containerd will want the next layer, as a containerd does that is killed
// between making a layer and recording it.
func TestForgottenLayer(t *testing.T) {
	e := newEngine(t)
	if e.client.Snapshotter != "overlayfs" {
		t.Skipf("the snapshotter is %s", e.client.Snapshotter)
	}
	layers := filepath.Join(e.opts.DataRoot, "containerd", "root", "io.containerd.snapshotter.v1.overlayfs", "snapshots")
	entries, err := os.ReadDir(layers)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, entry := range entries {
		n, _ := strconv.Atoi(entry.Name())
		last = max(last, n)
	}
	if err := os.MkdirAll(filepath.Join(layers, strconv.Itoa(last+1), "fs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if out, exit := e.run(e.spec("echo here")); out != "here\n" || exit.Code != 0 {
			t.Errorf("printed %q and ended with %d", out, exit.Code)
		}
	}
}

// TestForgottenBundle leaves a bundle whose containerd was killed while it made a task.
func TestForgottenBundle(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	bundles := filepath.Join(e.opts.ExecRoot, "containerd", "state", "io.containerd.runtime.v2.task", e.opts.Namespace)
	forgotten := filepath.Join(bundles, randomID())
	if err := os.MkdirAll(filepath.Join(forgotten, "rootfs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := e.Runtime.stale.sweepBundles(e.client.Scope(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(forgotten); !os.IsNotExist(err) {
		t.Errorf("the bundle is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(bundles, string(c.ID))); err != nil {
		t.Errorf("a bundle in use is gone: %v", err)
	}
	if err := e.Runtime.stale.sweepShims(e.client.Scope(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := e.Kill(t.Context(), c.ID, unix.SIGKILL, true); err != nil {
		t.Fatal(err)
	}
	if exit := c.end(); exit.Code != 137 {
		t.Errorf("ended with %d", exit.Code)
	}
}
