package containerd

import (
	"testing"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"
)

func TestRepeatable(t *testing.T) {
	for method, want := range map[string]bool{
		"/containerd.services.tasks.v1.Tasks/Get":             true,
		"/containerd.services.tasks.v1.Tasks/Delete":          true,
		"/containerd.services.snapshots.v1.Snapshots/Mounts":  true,
		"/containerd.services.tasks.v1.Tasks/Create":          false,
		"/containerd.services.tasks.v1.Tasks/Start":           false,
		"/containerd.services.tasks.v1.Tasks/Kill":            false,
		"/containerd.services.snapshots.v1.Snapshots/Prepare": false,
	} {
		if got := repeatable(method, nil); got != want {
			t.Errorf("%s: %t", method, got)
		}
	}
	for sig, want := range map[unix.Signal]bool{unix.SIGKILL: true, unix.SIGTERM: false} {
		if got := repeatable("/containerd.services.tasks.v1.Tasks/Kill", &tasks.KillRequest{Signal: uint32(sig)}); got != want {
			t.Errorf("kill with %s: %t", sig, got)
		}
	}
}
