package ocispec

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/contrib/apparmor"
	hostapparmor "github.com/containerd/containerd/v2/pkg/apparmor"
	"github.com/containerd/containerd/v2/pkg/cap"
	"golang.org/x/sys/unix"
)

const (
	// CgroupRoot is where cgroups are (cgroups(7)), of either version.
	CgroupRoot = "/sys/fs/cgroup"

	apparmorProfile = "linkspan-default"
)

// Host is what the translation of a container depends on besides the
// container. ReadHost reads it once, when the runtime opens.
type Host struct {
	Cgroup2 bool // the unified hierarchy only
	// InitPath is the init for containers with --init; empty, or no absolute path,
	// means that it is looked for.
	InitPath string
	// ShmDir has the /dev/shm of containers that share it, by their IDs.
	ShmDir string

	capabilities      []string // the daemon's own, effective
	cgroupns          bool     // there are cgroup namespaces
	swapLimit         bool     // memory and swap can be limited together
	recursiveReadOnly bool     // mount_setattr(2) exists
	apparmor          bool
	apparmorProfile   string // "" if it could not be loaded
	netSysctls        map[string]string
	oomScore          int // the daemon's own oom_score_adj
	maskedPaths       []string
}

// ReadHost looks at the machine.
func ReadHost(log *slog.Logger) (Host, error) {
	own, err := cap.Current()
	if err != nil {
		return Host{}, fmt.Errorf("read own capabilities: %w", err)
	}
	h := Host{capabilities: own, netSysctls: map[string]string{}, maskedPaths: maskedPaths(sysCPUs)}
	var fs unix.Statfs_t
	if err := unix.Statfs(CgroupRoot, &fs); err == nil {
		h.Cgroup2 = fs.Type == unix.CGROUP2_SUPER_MAGIC
	}
	// cgroup v2 always accounts swap, if the kernel has swap at all.
	h.swapLimit = h.Cgroup2 || exists(filepath.Join(CgroupRoot, "memory", "memory.memsw.limit_in_bytes"))
	h.cgroupns = exists("/proc/self/ns/cgroup")
	h.recursiveReadOnly = unix.MountSetattr(-1, "", 0, &unix.MountAttr{}) != unix.ENOSYS
	for key, value := range map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "0",
		"net.ipv4.ping_group_range":           "0 2147483647",
	} {
		if exists("/proc/sys/" + strings.ReplaceAll(key, ".", "/")) {
			h.netSysctls[key] = value
		}
	}
	if raw, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		h.oomScore, _ = strconv.Atoi(strings.TrimSpace(string(raw))) // zero is the kernel's default
	}
	if h.apparmor = hostapparmor.HostSupports(); h.apparmor {
		if err := apparmor.LoadDefaultProfile(apparmorProfile); err != nil {
			log.Warn("apparmor profile not loaded, containers run without one", "op", "runtime.open", "err", err)
		} else {
			h.apparmorProfile = apparmorProfile
		}
	}
	return h, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// AppArmorProfile returns the profile of containers that do not ask for another; empty
// where there is none.
func (h Host) AppArmorProfile() string { return h.apparmorProfile }
