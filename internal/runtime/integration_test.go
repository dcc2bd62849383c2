package runtime

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/process"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

const (
	busybox   = "/bin/busybox" // Debian's busybox-static
	testImage = "linkspan-test/busybox:latest"
	// patience bounds every wait in these tests.
	patience = 30 * time.Second
)

// engine is a runtime with a containerd of its own.
type engine struct {
	*Runtime
	*Containers
	*Tasks
	*Execs
	client *containerd.Client
	host   ocispec.Host
	t      *testing.T
	opts   Options
	parent string // cgroup parent of everything it runs
	image  model.Image
}

// newEngine starts one, loads the test image and sees to it that nothing stays.
func newEngine(t *testing.T) *engine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, program := range []string{"containerd", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	if _, err := os.Stat(busybox); err != nil {
		t.Skipf("%s is missing: install busybox-static", busybox)
	}
	dir := t.TempDir()
	e := &engine{t: t, parent: "/linkspan-test-" + randomID()[:12], opts: Options{
		Namespace: "linkspan-test-" + randomID()[:12],
		DataRoot:  filepath.Join(dir, "data"),
		ExecRoot:  filepath.Join(dir, "exec"),
		Logger:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}}
	e.open()
	t.Cleanup(e.end)
	got, err := e.Images.Load(t.Context(), bytes.NewReader(imageArchive(t)))
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if len(got) != 1 || len(got[0].Tags) != 1 || got[0].Tags[0] != testImage {
		t.Fatalf("loaded %+v, want one image named %s", got, testImage)
	}
	e.image = got[0]
	return e
}

func (e *engine) open() {
	e.t.Helper()
	r, err := Open(e.t.Context(), e.opts)
	if err != nil {
		e.t.Fatalf("open: %v", err)
	}
	e.Runtime, e.Containers, e.Tasks, e.Execs = r, r.Containers, r.Tasks, r.Execs
	e.client, e.host = r.client, r.Containers.host
}

// end removes all containers, ends containerd and checks that nothing stayed.
func (e *engine) end() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all, err := e.List(ctx)
	if err != nil {
		e.t.Errorf("list: %v", err)
	}
	for _, c := range all {
		if c.State != model.TaskNone {
			if _, err := e.DeleteTask(ctx, c.ID); err != nil {
				e.t.Errorf("delete task: %v", err)
			}
		}
		if err := e.Delete(ctx, c.ID); err != nil {
			e.t.Errorf("delete: %v", err)
		}
	}
	e.checkNothingLeft(ctx)
	if err := e.Shutdown(ctx); err != nil {
		e.t.Errorf("shutdown: %v", err)
	}
	for _, pattern := range []string{"*", "."} {
		dirs, _ := filepath.Glob(filepath.Join(ocispec.CgroupRoot, pattern, e.parent))
		for _, d := range dirs {
			if err := os.Remove(d); err != nil {
				e.t.Errorf("cgroup left over: %v", err)
			}
		}
	}
	os.Remove(filepath.Join("/run/containerd/runc", e.opts.Namespace)) //nolint:errcheck // runc may not have made it
}

// recordFile is where the child containerd's process is recorded.
func (e *engine) recordFile() string {
	return filepath.Join(e.opts.ExecRoot, "containerd", "containerd.pid")
}

// child returns which process the child containerd is.
func (e *engine) child() process.Identity {
	e.t.Helper()
	id, err := process.ReadRecord(e.recordFile())
	if err != nil {
		e.t.Fatal(err)
	}
	return id
}

// bundlePaths are where the bundle of a container's task is, and its working folder.
func (e *engine) bundlePaths(id model.ContainerID) []string {
	bundle, work := e.client.Bundle(id)
	return []string{bundle, work}
}

func (e *engine) checkNothingLeft(ctx context.Context) {
	ctx = e.client.Scope(ctx)
	records, err := e.client.ContainerService().List(ctx)
	if err != nil || len(records) != 0 {
		e.t.Errorf("containers left: %v %v", records, err)
	}
	if left := e.containerSnapshots(ctx); len(left) != 0 {
		e.t.Errorf("snapshots left: %v", left)
	}
	if entries, err := os.ReadDir(filepath.Join(e.opts.ExecRoot, "io")); err != nil || len(entries) != 0 {
		e.t.Errorf("streams left: %v %v", entries, err)
	}
	if len(e.Runtime.streams.held) != 0 {
		e.t.Errorf("guards left: %v", e.Runtime.streams.held)
	}
}

// containerSnapshots lists the writable layers.
func (e *engine) containerSnapshots(ctx context.Context) (keys []string) {
	err := e.client.Snapshots().Walk(e.client.Scope(ctx), func(_ context.Context, info snapshots.Info) error {
		if info.Labels["linkspan/container"] != "" {
			keys = append(keys, info.Name)
		}
		return nil
	})
	if err != nil {
		e.t.Errorf("list snapshots: %v", err)
	}
	return keys
}

// bareLayer makes a container's writable layer on layers of an image, without an init
// layer between, as older releases did.
func (e *engine) bareLayer(key, parent string) ([]mount.Mount, error) {
	return e.client.Snapshots().Prepare(e.client.Scope(e.t.Context()), key, parent, snapshots.WithLabels(map[string]string{
		"linkspan/container": key, "containerd.io/gc.root": time.Now().UTC().Format(time.RFC3339),
	}))
}

// spec returns a container that runs a shell script.
func (e *engine) spec(script string) model.ContainerSpec {
	return model.ContainerSpec{
		ID: model.ContainerID(randomID()), Image: e.image.ID, Hostname: "box", CgroupParent: e.parent,
		Netns: newNetns(e.t), Process: model.Process{Args: []string{"/bin/sh", "-c", script}},
	}
}

// running is a started container.
type running struct {
	model.ContainerSpec
	e       *engine
	streams *model.Streams
	pid     int
	exit    <-chan model.Exit
	out     *capture
	err     *capture
}

// newTask makes a task and reads its output, as the keeper does. begun lets go of
// the guards that keep the end of output from being seen.
func (e *engine) newTask(id model.ContainerID, o model.StreamOptions) (s *model.Streams, pid int, begun func(), err error) {
	s = &model.Streams{}
	var guards []*os.File
	o.Open = func(p model.Pipes) error {
		for _, path := range []string{p.Stdout, p.Stderr} {
			if path == "" {
				continue
			}
			if err := openOutput(s, p); err != nil {
				return err
			}
			guard, err := openFIFO(path, os.O_WRONLY)
			if err != nil {
				return err
			}
			guards = append(guards, guard)
		}
		return nil
	}
	begun = sync.OnceFunc(func() {
		for _, g := range guards {
			g.Close()
		}
	})
	e.t.Cleanup(begun)
	task, err := e.NewTask(e.t.Context(), id, o)
	if err != nil {
		return nil, 0, begun, err
	}
	s.Stdin = task.Stdin
	return s, task.Pid, begun, nil
}

// openOutput opens what of a process's output is not open yet.
func openOutput(s *model.Streams, p model.Pipes) (err error) {
	if s.Stdout == nil {
		s.Stdout, err = openFIFO(p.Stdout, os.O_RDONLY)
	}
	if err == nil && s.Stderr == nil && p.Stderr != "" {
		s.Stderr, err = openFIFO(p.Stderr, os.O_RDONLY)
	}
	return err
}

// reattach takes a task up and reads its output.
func (e *engine) reattach(id model.ContainerID) (*model.Streams, int, error) {
	task, err := e.Reattach(e.t.Context(), id)
	if err != nil {
		return nil, 0, err
	}
	s := &model.Streams{Stdin: task.Stdin}
	return s, task.Pid, openOutput(s, task.Pipes)
}

func (e *engine) start(spec model.ContainerSpec) *running { return e.startSharing(spec, 0) }

// startSharing is start of a container whose shared memory others may have.
func (e *engine) startSharing(spec model.ContainerSpec, memory int64) *running {
	e.t.Helper()
	if err := e.Create(e.t.Context(), spec); err != nil {
		e.t.Fatalf("create: %v", err)
	}
	return e.startMade(spec, memory)
}

// startMade starts a container that is made.
func (e *engine) startMade(spec model.ContainerSpec, memory int64) *running {
	e.t.Helper()
	ctx := e.t.Context()
	c := &running{ContainerSpec: spec, e: e}
	var err error
	o := model.StreamOptions{TTY: spec.Process.TTY, Stdin: spec.Process.Stdin, SharedMemory: memory}
	var begun func()
	if c.streams, c.pid, begun, err = e.newTask(spec.ID, o); err != nil {
		e.t.Fatalf("new task: %v", err)
	}
	defer begun()
	c.out, c.err = drain(c.streams.Stdout), drain(c.streams.Stderr)
	if c.exit, err = e.Wait(context.Background(), spec.ID); err != nil {
		e.t.Fatalf("wait: %v", err)
	}
	if err := e.Start(ctx, spec.ID); err != nil {
		e.t.Fatalf("start: %v", err)
	}
	return c
}

// end waits for the exit and the end of output, then removes the task.
func (c *running) end() model.Exit {
	c.e.t.Helper()
	exit := receive(c.e.t, c.exit)
	c.out.wait(c.e.t)
	c.err.wait(c.e.t)
	if c.streams.Stdin != nil {
		c.streams.Stdin.Close()
	}
	again, err := c.e.DeleteTask(c.e.t.Context(), c.ID)
	if err != nil {
		c.e.t.Fatalf("delete task: %v", err)
	}
	if again.Code != exit.Code || again.OOMKilled != exit.OOMKilled {
		c.e.t.Errorf("wait said %+v, delete said %+v", exit, again)
	}
	if err := c.e.Delete(c.e.t.Context(), c.ID); err != nil {
		c.e.t.Fatalf("delete: %v", err)
	}
	return exit
}

// run runs a container to its end and returns what it printed.
func (e *engine) run(spec model.ContainerSpec) (out string, exit model.Exit) {
	e.t.Helper()
	c := e.start(spec)
	exit = c.end()
	if text := c.err.String(); text != "" {
		e.t.Logf("stderr: %s", text)
	}
	return c.out.String(), exit
}

// exec runs a further process to its end.
func (c *running) exec(p model.Process) (out, errOut string, exit model.Exit) {
	c.e.t.Helper()
	ctx, id := c.e.t.Context(), randomID()
	s, err := c.e.Exec(ctx, c.ID, id, p)
	if err != nil {
		c.e.t.Fatalf("exec: %v", err)
	}
	stdout, stderr := drain(s.Stdout), drain(s.Stderr)
	done, err := c.e.WaitExec(ctx, c.ID, id)
	if err != nil {
		c.e.t.Fatalf("wait exec: %v", err)
	}
	if _, err := c.e.StartExec(ctx, c.ID, id); err != nil {
		c.e.t.Fatalf("start exec: %v", err)
	}
	exit = receive(c.e.t, done)
	stdout.wait(c.e.t)
	stderr.wait(c.e.t)
	if _, err := c.e.DeleteExec(ctx, c.ID, id); err != nil {
		c.e.t.Fatalf("delete exec: %v", err)
	}
	return stdout.String(), stderr.String(), exit
}

// capture collects a stream up to its end.
type capture struct {
	done chan struct{}
	mu   sync.Mutex
	text bytes.Buffer
}

func drain(from io.ReadCloser) *capture {
	c := &capture{done: make(chan struct{})}
	if from == nil {
		close(c.done)
		return c
	}
	go func() {
		defer close(c.done)
		defer from.Close()
		io.Copy(c, from) //nolint:errcheck // the test looks at what came
	}()
	return c
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

func (c *capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func (c *capture) wait(t *testing.T) {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Fatalf("output has no end; so far %q", c.String())
	}
}

// contains waits until the text has come.
func (c *capture) contains(t *testing.T, text string) {
	t.Helper()
	eventually(t, func() bool { return strings.Contains(c.String(), text) },
		func() string { return fmt.Sprintf("output %q lacks %q", c.String(), text) })
}

// eventually polls a condition with a deadline.
func eventually(t *testing.T, ok func() bool, say func() string) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(say())
		}
	}
}

func receive(t *testing.T, c <-chan model.Exit) model.Exit {
	t.Helper()
	select {
	case exit, ok := <-c:
		if !ok {
			t.Fatal("wait ended without an exit")
		}
		return exit
	case <-time.After(patience):
		t.Fatal("no exit")
	}
	return model.Exit{}
}

func randomID() string {
	var raw [32]byte
	rand.Read(raw[:]) //nolint:errcheck // never fails
	return hex.EncodeToString(raw[:])
}

// newNetns makes a network namespace that a bind mount keeps. The thread that
// made it is never used again.
func newNetns(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := onDoomedThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	}); err != nil {
		t.Fatalf("network namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Errorf("network namespace: %v", err)
		}
	})
	return path
}

// onDoomedThread runs f on a thread that ends with it. The process's first thread
// cannot end, and /proc/self shows its namespaces: f must not run there.
func onDoomedThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onDoomedThread(f) // on another, as this one is locked
			goruntime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

// imageArchive returns an image with busybox as `docker save` writes it.
func imageArchive(t *testing.T) []byte {
	t.Helper()
	layer := rootfsTar(t)
	sum := sha256.Sum256(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": goruntime.GOARCH, "os": "linux", "created": "2024-05-06T07:08:09Z",
		"comment": "made by a test",
		"config": map[string]any{"Cmd": []string{"sh"}, "Env": []string{"COLOUR=blue"},
			"ExposedPorts": map[string]any{"80/tcp": struct{}{}}, "WorkingDir": "/srv"},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
		"history": []any{map[string]any{"created_by": "COPY busybox /"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal([]any{map[string]any{
		"Config": "config.json", "RepoTags": []string{testImage}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range []struct {
		name string
		data []byte
	}{{"layer.tar", layer}, {"config.json", config}, {"manifest.json", manifest}} {
		writeTar(t, w, tar.Header{Name: f.name, Mode: 0o644}, f.data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// rootfsTar returns a small root file system.
func rootfsTar(t *testing.T) []byte {
	t.Helper()
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, dir := range []string{"bin", "etc", "tmp", "srv", "home/web"} {
		writeTar(t, w, tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	writeTar(t, w, tar.Header{Name: "bin/busybox", Mode: 0o755}, program)
	for _, name := range strings.Fields("sh cat ls stty sleep echo id head env hostname dd wc true kill printf seq mount touch grep sysctl pwd") {
		writeTar(t, w, tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
	}
	writeTar(t, w, tar.Header{Name: "etc/passwd", Mode: 0o644},
		[]byte("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n"))
	writeTar(t, w, tar.Header{Name: "etc/group", Mode: 0o644},
		[]byte("root:x:0:\nweb:x:1001:\nops:x:1002:web\nlog:x:1003:\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func writeTar(t *testing.T, w *tar.Writer, h tar.Header, data []byte) {
	t.Helper()
	h.Size = int64(len(data))
	h.ModTime = time.Unix(1700000000, 0)
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
}
