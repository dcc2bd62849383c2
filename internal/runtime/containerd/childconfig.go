package containerd

import (
	"fmt"
	"path/filepath"
	"strings"
)

// disabledPlugins are the parts of containerd 1.6 and 2.x that we never ask for:
// Kubernetes' interface, snapshotters that need their own storage, and what only
// they use. Names a containerd does not know are ignored by it.
func disabledPlugins() []string {
	return []string{
		"io.containerd.grpc.v1.cri",
		"io.containerd.cri.v1.images",
		"io.containerd.cri.v1.runtime",
		"io.containerd.nri.v1.nri",
		"io.containerd.podsandbox.controller.v1.podsandbox",
		"io.containerd.sandbox.controller.v1.shim",
		"io.containerd.snapshotter.v1.aufs",
		"io.containerd.snapshotter.v1.blockfile",
		"io.containerd.snapshotter.v1.btrfs",
		"io.containerd.snapshotter.v1.devmapper",
		"io.containerd.snapshotter.v1.erofs",
		"io.containerd.snapshotter.v1.zfs",
		"io.containerd.differ.v1.erofs",
		"io.containerd.internal.v1.opt",
		"io.containerd.internal.v1.restart",
		"io.containerd.internal.v1.tracing",
		"io.containerd.tracing.processor.v1.otlp",
	}
}

// childConfig returns the configuration file of a private containerd: version 2,
// which both 1.6 and 2.x read. Debug and metrics sockets are off.
func childConfig(data, exec string) []byte {
	quoted := make([]string, 0, len(disabledPlugins()))
	for _, p := range disabledPlugins() {
		quoted = append(quoted, fmt.Sprintf("  %q,", p))
	}
	socket := filepath.Join(exec, "containerd.sock")
	return []byte(fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = [
%s
]

[grpc]
  address = %q

[ttrpc]
  address = %q

[debug]
  level = "warn"

[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "10s"
`, filepath.Join(data, "root"), filepath.Join(exec, "state"), strings.Join(quoted, "\n"),
		socket, socket+".ttrpc"))
}
