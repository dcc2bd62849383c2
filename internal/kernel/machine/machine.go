// Package machine reads what is told of the host: its kernel and system, memory, and
// what can be limited. It must not change anything.
package machine

import (
	"bufio"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/facts"
)

// Read looks at the machine through its root file system. What cannot be
// read is left out: /info must answer on any host.
func Read(root fs.FS) facts.Machine {
	line := func(path string) string {
		raw, err := fs.ReadFile(root, path)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(raw))
	}
	there := func(path string) bool {
		_, err := fs.Stat(root, path)
		return err == nil
	}
	release := assignments(line("etc/os-release"))
	f := facts.Machine{
		Kernel:        line("proc/sys/kernel/osrelease"),
		Name:          line("proc/sys/kernel/hostname"),
		System:        release["PRETTY_NAME"],
		SystemVersion: release["VERSION_ID"],
		Memory:        totalMemory(line("proc/meminfo")),
		Forwarding4:   line("proc/sys/net/ipv4/ip_forward") == "1",
		Seccomp:       there("proc/sys/kernel/seccomp/actions_avail"),
		AppArmor:      line("sys/module/apparmor/parameters/enabled") == "Y",
		CgroupVersion: "1",
	}
	if f.System == "" {
		f.System = "Linux"
	}
	var controllers []string
	if there("sys/fs/cgroup/cgroup.controllers") {
		f.CgroupVersion = "2"
		controllers = strings.Fields(line("sys/fs/cgroup/cgroup.controllers"))
		f.SwapControl = true
	} else {
		for _, name := range []string{"cpu", "memory", "cpuset", "pids"} {
			if there("sys/fs/cgroup/" + name) {
				controllers = append(controllers, name)
			}
		}
		f.SwapControl = there("sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
	}
	f.OOMControl = f.CgroupVersion == "1" && there("sys/fs/cgroup/memory/memory.oom_control")
	f.Cgroupns = there("proc/self/ns/cgroup")
	for kind, can := range map[string]*bool{
		"read_bps": &f.BlockControl.ReadBytes, "write_bps": &f.BlockControl.WriteBytes, "read_iops": &f.BlockControl.ReadTimes, "write_iops": &f.BlockControl.WriteTimes,
	} {
		*can = slices.Contains(controllers, "io") || there("sys/fs/cgroup/blkio/blkio.throttle."+kind+"_device")
	}
	if open, err := fs.ReadDir(root, "proc/self/fd"); err == nil {
		f.Descriptors = len(open)
	}
	for _, name := range controllers {
		switch name {
		case "cpu":
			f.CPUControl = true
		case "memory":
			f.MemoryControl = true
		case "cpuset":
			f.CPUSetControl = true
		case "pids":
			f.ProcessControl = true
		}
	}
	return f
}

// assignments reads os-release(5).
func assignments(text string) map[string]string {
	out := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok {
			out[key] = strings.Trim(value, `"'`)
		}
	}
	return out
}

// totalMemory reads MemTotal of proc_meminfo(5), in bytes.
func totalMemory(text string) int64 {
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), "MemTotal:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
		if err != nil {
			return 0
		}
		return kib << 10
	}
	return 0
}
