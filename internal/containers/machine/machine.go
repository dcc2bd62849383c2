// Package machine reads of the host what requests for containers are checked against, and its
// name.
package machine

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/containerspec"
)

// cgroups is where the cgroups are mounted, of either version.
const cgroups = "/sys/fs/cgroup/"

// This reads what requests are checked against.
func This() containerspec.Machine {
	io := Unified() && slices.Contains(strings.Fields(online(cgroups+"cgroup.controllers")), "io")
	return containerspec.Machine{
		CPUs:       runtime.NumCPU(),
		OnlineCPUs: online("/sys/devices/system/cpu/online"), OnlineNodes: online("/sys/devices/system/node/online"),
		MemoryV1:     there(cgroups + "memory/memory.swappiness"),
		BlockWeights: io || there(cgroups+"blkio/blkio.weight"), BlockDeviceWeights: io || there(cgroups+"blkio/blkio.weight_device"),
		BlockLimits: io || there(cgroups+"blkio/blkio.throttle.read_bps_device"), Cgroupns: there("/proc/self/ns/cgroup"),
	}
}

// Unified tells whether the cgroups are those of version 2 alone.
func Unified() bool { return there(cgroups + "cgroup.controllers") }

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// online reads which CPUs or memory nodes the machine has; empty if it does not say.
func online(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// Hostname returns the host's name.
func Hostname() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("host name: %w", err)
	}
	return name, nil
}
