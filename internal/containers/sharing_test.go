package containers

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// living gives a container of the fake runtime the process of this test.
func living(b *bench, id string) {
	b.entries[model.ContainerID(id)].edit(func(r *record) { r.State.Pid = os.Getpid() })
}

func sharing(pid container.PidMode, ipc container.IpcMode) func(*CreateRequest) {
	return func(r *CreateRequest) { r.Host.PidMode, r.Host.IpcMode = pid, ipc }
}

// TestShareNamespaces: what a container joins is found again by ID, set anew at each
// start, and told to the runtime.
func TestShareNamespaces(t *testing.T) {
	b := newBench(t)
	donor := b.run("donor", sharing("", "shareable"))
	living(b, donor)
	id := b.create("joiner", sharing("container:donor", "container:donor"))
	must(t, b.Rename(ctx, donor, "renamed"))
	must(t, b.Start(ctx, id))
	made := b.runtime.made[model.ContainerID(id)]
	pid := strconv.Itoa(b.inspect(donor).State.Pid)
	for link, namespace := range map[string]string{made.PIDNamespace: "pid", made.IPCNamespace: "ipc"} {
		if target, err := os.Readlink(link); err != nil || target != filepath.Join("/proc", pid, "ns", namespace) {
			t.Errorf("%s leads to %q, %v", link, target, err)
		}
	}
	if made.SharedMemory != model.ContainerID(donor) {
		t.Errorf("shared memory of %q", made.SharedMemory)
	}
	if got := b.inspect(id).HostConfig; string(got.PidMode) != "container:"+donor || string(got.IpcMode) != "container:"+donor {
		t.Errorf("inspect: %s, %s", got.PidMode, got.IpcMode)
	}
	if own := b.runtime.made[model.ContainerID(donor)]; own.SharedMemory != model.ContainerID(donor) || own.PIDNamespace != "" {
		t.Errorf("donor %+v", own)
	}
	if none := b.runtime.made[model.ContainerID(b.run("none", sharing("host", "none")))]; !none.NoSharedMemory || !none.HostPID {
		t.Errorf("none %+v", none)
	}
}

func TestShareRefused(t *testing.T) {
	b := newBench(t)
	b.create("down", sharing("", "shareable"))
	living(b, b.run("private", nil))
	for name, c := range map[string]struct {
		pid  container.PidMode
		ipc  container.IpcMode
		kind model.Kind
		text string
	}{
		"pid-down":    {"container:down", "", model.Conflict, "is not running"},
		"ipc-down":    {"", "container:down", model.Conflict, "is not running"},
		"pid-nobody":  {"container:nobody", "", model.Invalid, "No such container: nobody"},
		"ipc-private": {"", "container:private", model.Invalid, "non-shareable IPC (hint: use IpcMode:shareable for the donor container)"},
	} {
		id := b.create(name, sharing(c.pid, c.ipc))
		refused(t, b.Start(ctx, id), c.kind, c.text)
		if b.inspect(id).State.Running {
			t.Errorf("%s runs", name)
		}
	}
}

// TestShareWithTheDead: a container that ends while another joins it, so that its
// process's number may be somebody else's, is not joined.
func TestShareWithTheDead(t *testing.T) {
	b := newBench(t)
	donor := b.run("donor", nil)
	living(b, donor)
	id := b.create("joiner", sharing("container:donor", ""))
	joined, err := b.namespaces.join(b.entries[model.ContainerID(id)].snapshot())
	must(t, err)
	must(t, joined())
	b.end(donor, 0)
	refused(t, joined(), model.Conflict, "is not running")
}
