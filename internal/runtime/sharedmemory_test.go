package runtime

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestShareNamespaces: processes and shared memory of a container are another's too, and
// nothing stays mounted.
func TestShareNamespaces(t *testing.T) {
	e := newEngine(t)
	donor := e.spec("echo hello >/dev/shm/note; sleep 1000")
	donor.SharedMemory = donor.ID
	d := e.startSharing(donor, 1<<20)
	joiner := e.spec("cat /dev/shm/note; ls -d /proc/1/root >/dev/null; cat /proc/1/cmdline; head -c 2000000 /dev/zero >/dev/shm/big 2>/dev/null || echo; echo full")
	joiner.SharedMemory = donor.ID
	joiner.PIDNamespace, joiner.IPCNamespace = fmt.Sprintf("/proc/%d/ns/pid", d.pid), fmt.Sprintf("/proc/%d/ns/ipc", d.pid)
	out, exit := e.run(joiner)
	if exit.Code != 0 || !strings.HasPrefix(out, "hello\n") || !strings.Contains(out, "sleep\x001000") || !strings.Contains(out, "full") {
		t.Errorf("printed %q, exit %d", out, exit.Code)
	}
	none := e.spec("ls -d /dev/shm || echo none")
	none.NoSharedMemory = true
	if out, _ := e.run(none); !strings.Contains(out, "none") {
		t.Errorf("without shared memory: %q", out)
	}
	if err := e.Kill(t.Context(), donor.ID, 9, true); err != nil {
		t.Fatal(err)
	}
	d.end()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), e.Runtime.shm.root) || exists(e.Runtime.shm.dir(donor.ID)) {
		t.Errorf("shared memory stays: %v", err)
	}
}

// TestSharedMemoryIsSwept: what a daemon that was killed has left is taken away.
func TestSharedMemoryIsSwept(t *testing.T) {
	e := newEngine(t)
	if err := e.Runtime.shm.share("stray", 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.open()
	if exists(e.Runtime.shm.dir("stray")) {
		t.Error("the shared memory of nobody stays")
	}
}
