package containers

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// reopen ends the daemon, lets change happen, and starts it again.
func (b *bench) reopen(change func()) {
	b.t.Helper()
	b.shut()
	if change != nil {
		change()
	}
	b.open()
}

func TestRestoreAdoptsRunning(t *testing.T) {
	b := newBench(t)
	id := b.run("one", func(r *CreateRequest) { r.Config.OpenStdin = true })
	before := b.inspect(id)
	b.reopen(nil)
	if b.runtime.process(id).in.closed {
		t.Fatal("the end of the daemon was the end of input")
	}
	after := b.inspect(id)
	if !after.State.Running || after.State.Pid != before.State.Pid || after.State.StartedAt != before.State.StartedAt ||
		after.NetworkSettings.Networks["bridge"].IPAddress != before.NetworkSettings.Networks["bridge"].IPAddress {
		t.Fatalf("before %+v, after %+v", before.State, after.State)
	}
	var out buffer
	done := b.attach(id, AttachOptions{Stdout: true, Stream: true}, Streams{Stdout: &out})
	io.WriteString(b.runtime.process(id).out, "still here")
	b.end(id, 9)
	must(t, receive(t, done))
	if out.String() != "still here" {
		t.Fatalf("output %q", out.String())
	}
	if got := b.inspect(id).State.ExitCode; got != 9 {
		t.Fatalf("exit code %d", got)
	}
}

func TestRestoreRecordsUnseenEnds(t *testing.T) {
	b := newBench(t)
	seen := b.run("seen", nil)
	lost := b.run("lost", nil)
	temporary := b.run("temporary", func(r *CreateRequest) { r.Host.AutoRemove = true })
	paused := b.run("paused", nil)
	b.reopen(func() {
		b.runtime.finish(b.runtime.process(seen), 6)
		b.runtime.finish(b.runtime.process(temporary), 0)
		delete(b.runtime.tasks, model.ContainerID(lost)) // a reboot
		must(t, b.runtime.Pause(ctx, model.ContainerID(paused)))
	})
	if got := b.inspect(seen).State; got.Status != container.StateExited || got.ExitCode != 6 {
		t.Errorf("seen: %+v", got)
	}
	if got := b.inspect(lost).State; got.Status != container.StateExited || got.ExitCode != exitUnseen {
		t.Errorf("lost: %+v", got)
	}
	if got := b.inspect(paused).State.Status; got != container.StatePaused {
		t.Errorf("paused: %s", got)
	}
	_, err := b.Inspect(ctx, temporary)
	refused(t, err, model.NotFound, "No such container")
	for _, id := range []string{seen, lost} {
		if sb, _ := b.engine.Snapshot().SandboxOf(model.ContainerID(id)); sb.Up {
			t.Errorf("the sandbox of %s is up", id[:12])
		}
		must(t, b.Start(ctx, id))
	}
}

func TestRestoreSweeps(t *testing.T) {
	b := newBench(t)
	kept := b.create("kept", nil)
	half := model.ContainerID(ids.New())
	b.reopen(func() {
		// A creation and a removal that were cut short, and a start between sandbox and task.
		must(t, b.runtime.Create(ctx, model.ContainerSpec{ID: half}))
		_, err := b.runtime.NewTask(ctx, half, model.StreamOptions{})
		must(t, err)
		sb := model.Sandbox{ID: model.SandboxID(ids.New()), Container: half, Name: "half", Mode: model.SandboxOwn}
		_, err = b.engine.Do(ctx, ops.CreateSandbox(sb, nil))
		must(t, err)
		must(t, os.MkdirAll(filepath.Join(b.root, "data", "containers", string(half)), 0o700))
		must(t, os.MkdirAll(filepath.Join(b.root, "data", "containers", "not-ours"), 0o700))
		own, _ := b.engine.Snapshot().SandboxOf(model.ContainerID(kept))
		_, err = b.engine.Do(ctx, ops.StartSandbox(own.ID))
		must(t, err)
	})
	if len(b.runtime.made) != 0 || len(b.runtime.tasks) != 0 {
		t.Errorf("the runtime has %v", b.runtime.made)
	}
	if _, ok := b.engine.Snapshot().SandboxOf(half); ok {
		t.Error("the sandbox is left")
	}
	if exists(b.dirs.Of(half)) || !exists(b.dirs.Of("not-ours")) || !exists(b.dirs.Of(model.ContainerID(kept))) {
		t.Error("only the files of containers that are not go")
	}
	if sb, ok := b.engine.Snapshot().SandboxOf(model.ContainerID(kept)); !ok || sb.Up {
		t.Errorf("the sandbox of the kept one: %+v", sb)
	}
	must(t, b.Start(ctx, kept))
}

func TestRestoreRestartPolicies(t *testing.T) {
	b := newBench(t)
	policy := func(name container.RestartPolicyMode) func(*CreateRequest) {
		return func(r *CreateRequest) { r.Host.RestartPolicy.Name = name }
	}
	unless := b.run("unless", policy(container.RestartPolicyUnlessStopped))
	stopped := b.run("stopped", policy(container.RestartPolicyUnlessStopped))
	plain := b.run("plain", nil)
	must(t, b.Stop(ctx, stopped, StopOptions{}))
	must(t, b.StopAll(ctx))
	b.reopen(nil)
	soon(t, "the policy holds", func() bool { return b.inspect(unless).State.Status == container.StateRunning })
	for _, id := range []string{stopped, plain} {
		if got := b.inspect(id).State.Status; got != container.StateExited {
			t.Errorf("%s is %s", id[:12], got)
		}
	}
}

func TestRestoreRefusesNewerRecords(t *testing.T) {
	b := newBench(t)
	id := model.ContainerID(b.create("one", nil))
	stored, _ := b.engine.Snapshot().Container(id)
	raw := stored.Document
	for _, bad := range []string{`{"Version":99}`, `{"Version":1}`, `nonsense`} {
		if _, err := decodeRecord(id, []byte(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
	rec, err := decodeRecord(id, raw)
	if err != nil || rec.Name != "one" || rec.Config.Image != "busybox" {
		t.Fatalf("%+v, %v", rec, err)
	}
}

// TestRestoreOfHalfAStart: the daemon was killed between making a process and
// starting it, and the runtime is too busy to say more than that there is one.
func TestRestoreOfHalfAStart(t *testing.T) {
	b := newBench(t)
	id := b.create("one", nil)
	running := b.run("two", nil)
	b.reopen(func() {
		must(t, b.runtime.Create(ctx, model.ContainerSpec{ID: model.ContainerID(id)}))
		_, err := b.runtime.NewTask(ctx, model.ContainerID(id), model.StreamOptions{})
		must(t, err)
		b.runtime.vague = true
	})
	soon(t, "half a start is taken back", func() bool { return b.runtime.process(id) == nil })
	if got := b.inspect(id).State; got.Status != container.StateCreated || got.Pid != 0 {
		t.Errorf("the one half started: %+v", got)
	}
	must(t, b.Start(ctx, id))
	must(t, b.Pause(ctx, running)) // waits for it to be taken over
	if got := b.inspect(running).State; got.Status != container.StatePaused || got.Pid == 0 {
		t.Errorf("the one that runs: %+v", got)
	}
	b.reopen(nil)
	must(t, b.Unpause(ctx, running))
	b.end(running, 4)
}

// TestRestoreOfAStartThatEnded: the daemon was killed between starting a container
// again and recording that, and the process has ended since.
func TestRestoreOfAStartThatEnded(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	b.end(id, 3)
	sb, _ := b.engine.Snapshot().SandboxOf(model.ContainerID(id))
	b.reopen(func() {
		_, err := b.engine.Do(ctx, ops.StartSandbox(sb.ID))
		must(t, err)
		_, err = b.runtime.NewTask(ctx, model.ContainerID(id), model.StreamOptions{})
		must(t, err)
		must(t, b.runtime.Start(ctx, model.ContainerID(id)))
		b.runtime.finish(b.runtime.process(id), 4)
	})
	if sb, _ := b.engine.Snapshot().Sandbox(sb.ID); sb.Up {
		t.Error("the sandbox is up")
	}
	if b.runtime.process(id) != nil {
		t.Error("the task is still there")
	}
	must(t, b.Start(ctx, id))
}

// TestRestoreCatchesUpFiles: a daemon that was killed between a change of networks
// and the container's files, or between those and its record, has left something
// to do. What the user wrote stays.
func TestRestoreCatchesUpFiles(t *testing.T) {
	b := newBench(t)
	id := b.run("one", func(r *CreateRequest) { r.Config.Hostname = "h" })
	hosts, resolv := b.dirs.Files(model.ContainerID(id)).Hosts, b.dirs.Files(model.ContainerID(id)).ResolvConf
	must(t, os.WriteFile(hosts, []byte(b.file(id, "hosts")+"203.0.113.6\tmine\n"), 0o644))
	sb, _ := b.engine.Snapshot().SandboxOf(model.ContainerID(id))
	check := func(what, wantHosts, wantResolv string) {
		t.Helper()
		if got := b.file(id, "hosts"); !strings.HasSuffix(got, wantHosts) {
			t.Errorf("%s: hosts:\n%s", what, got)
		}
		if got := settingsLines(b.file(id, "resolv.conf")); got != wantResolv {
			t.Errorf("%s: resolv.conf %s", what, got)
		}
	}
	connect := func() {
		_, err := b.engine.Do(ctx, ops.Connect(sb.ID, ops.EndpointSpec{Network: "web"}))
		must(t, err)
	}
	disconnect := func() {
		_, err := b.engine.Do(ctx, ops.Disconnect(sb.ID, "web", false))
		must(t, err)
	}

	b.reopen(connect)
	check("connected", "172.17.0.2\th\n203.0.113.6\tmine\n172.18.0.2\th\n", internalConf)
	b.reopen(disconnect)
	check("disconnected", "172.17.0.2\th\n203.0.113.6\tmine\n", legacyConf)

	alone := map[string]string{hosts: b.file(id, "hosts"), resolv: b.file(id, "resolv.conf")}
	must(t, b.Connect(ctx, id, "web", nil))
	joined := map[string]string{hosts: b.file(id, "hosts"), resolv: b.file(id, "resolv.conf")}
	must(t, b.Disconnect(ctx, id, "web", false))
	b.reopen(func() { // the files were written, the record was not
		connect()
		for path, text := range joined {
			must(t, os.WriteFile(path, []byte(strings.Replace(text, "172.18.0.3", "172.18.0.4", 1)), 0o644))
		}
	})
	b.reopen(disconnect)
	for path, want := range alone {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s", path, err, got)
		}
	}
	must(t, os.WriteFile(resolv, []byte("nameserver 203.0.113.5\n"), 0o644))
	b.reopen(connect)
	check("with a resolv.conf of the user's", "172.18.0.5\th\n", "nameserver 203.0.113.5")
}

// TestRestoreMovesLinks: a daemon that was killed when the target of a link had
// started had not told the one who links to it yet.
func TestRestoreMovesLinks(t *testing.T) {
	b := newBench(t)
	db := b.run("db", nil)
	app := b.run("app", linking("db:store"))
	line := b.line(app, "store")
	hosts := b.dirs.Files(model.ContainerID(app)).Hosts
	b.reopen(func() {
		stale := strings.Replace(b.file(app, "hosts"), b.address(db)+"\t", "172.17.0.99\t", 1)
		must(t, os.WriteFile(hosts, []byte(stale), 0o644))
	})
	if got := b.line(app, "store"); got != line {
		t.Errorf("line %q, want %q", got, line)
	}
}

// TestRestoreTriesAgain: what runs is not ended because somebody was not there for a
// moment; who asks for it meanwhile waits.
func TestRestoreTriesAgain(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	other := b.run("two", nil)
	before := b.inspect(id)
	b.reopen(func() { b.outputs.away = 3 })
	must(t, b.Pause(ctx, id))
	must(t, b.Unpause(ctx, id))
	must(t, b.Pause(ctx, other))
	if got := b.inspect(id); !got.State.Running || got.State.Pid != before.State.Pid || got.State.StartedAt != before.State.StartedAt {
		t.Fatalf("before %+v, after %+v", before.State, got.State)
	}
	b.end(id, 4)
	if got := b.inspect(id).State; got.ExitCode != 4 {
		t.Errorf("%+v", got)
	}
}
