package dockerapi

import (
	"bufio"
	"io/fs"
	"runtime"
	"strconv"
	"strings"
)

// hostFacts is what /info and /version tell of the machine.
type hostFacts struct {
	kernel         string
	system         string // "Debian GNU/Linux 12 (bookworm)"
	systemVersion  string
	name           string
	memory         int64 // bytes
	forwarding4    bool
	cgroupVersion  string // "1" or "2"
	seccomp        bool
	apparmor       bool
	cpuControl     bool // limits of this kind can be set
	memoryControl  bool
	swapControl    bool
	cpusetControl  bool
	processControl bool
}

// readHost looks at the machine through its root file system. What cannot be
// read is left out: /info must answer on any host.
func readHost(root fs.FS) hostFacts {
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
	f := hostFacts{
		kernel:        line("proc/sys/kernel/osrelease"),
		name:          line("proc/sys/kernel/hostname"),
		system:        release["PRETTY_NAME"],
		systemVersion: release["VERSION_ID"],
		memory:        totalMemory(line("proc/meminfo")),
		forwarding4:   line("proc/sys/net/ipv4/ip_forward") == "1",
		seccomp:       there("proc/sys/kernel/seccomp/actions_avail"),
		apparmor:      line("sys/module/apparmor/parameters/enabled") == "Y",
		cgroupVersion: "1",
	}
	if f.system == "" {
		f.system = "Linux"
	}
	var controllers []string
	if there("sys/fs/cgroup/cgroup.controllers") {
		f.cgroupVersion = "2"
		controllers = strings.Fields(line("sys/fs/cgroup/cgroup.controllers"))
		f.swapControl = true
	} else {
		for _, name := range []string{"cpu", "memory", "cpuset", "pids"} {
			if there("sys/fs/cgroup/" + name) {
				controllers = append(controllers, name)
			}
		}
		f.swapControl = there("sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
	}
	for _, name := range controllers {
		switch name {
		case "cpu":
			f.cpuControl = true
		case "memory":
			f.memoryControl = true
		case "cpuset":
			f.cpusetControl = true
		case "pids":
			f.processControl = true
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

// machine is the architecture's name as uname(1) gives it, which /info uses.
func machine() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return runtime.GOARCH
}
