// Package machine reads of the host what requests for containers are checked against, and its
// name.
package machine

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/linkspan/linkspan/internal/containerspec"
)

// memoryV1 is there where memory is controlled by cgroups of version 1.
const memoryV1 = "/sys/fs/cgroup/memory/memory.swappiness"

// This reads what requests are checked against.
func This() containerspec.Machine {
	_, v1 := os.Stat(memoryV1)
	return containerspec.Machine{
		CPUs:       runtime.NumCPU(),
		OnlineCPUs: online("/sys/devices/system/cpu/online"), OnlineNodes: online("/sys/devices/system/node/online"),
		MemoryV1: v1 == nil,
	}
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
