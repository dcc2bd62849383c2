package ocispec

import (
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const (
	// ociVersion is the runtime-spec release whose fields we use; runc 1.1
	// knows all of them.
	ociVersion = "1.1.0"

	defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	// defaultShmSize is the size of /dev/shm in bytes unless a user says other.
	defaultShmSize = 64 << 20

	// accessAll is every access to a device: read, write, mknod(2).
	accessAll = "rwm"
)

// defaultCapabilities returns the capabilities(7) of an unprivileged container:
// Docker's list.
func defaultCapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD",
		"CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
		"CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}

// sysCPUs is where the kernel tells of each CPU.
const sysCPUs = "/sys/devices/system/cpu"

// maskedPaths returns what a container must not read: files through which the
// kernel tells about, or lets touch, the host as a whole. The counters of throttled
// CPUs, in the folders that cpus has, tell what other containers do
// (GHSA-6fw5-f8r9-fgfm).
func maskedPaths(cpus string) []string {
	out := []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
		"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
	found, err := filepath.Glob(filepath.Join(cpus, "cpu[0-9]*", "thermal_throttle"))
	if err != nil {
		return out // only of a malformed pattern
	}
	for _, path := range found {
		out = append(out, sysCPUs+strings.TrimPrefix(path, cpus))
	}
	return out
}

// readonlyPaths returns what a container may read but not write.
func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// defaultMounts returns the file systems every container has.
func defaultMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc",
			Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs",
			Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs",
			Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue",
			Options: []string{"nosuid", "noexec", "nodev"}},
	}
}

// defaultDeviceRules returns the device allow-list of the cgroup: everything is
// refused but the harmless character devices that every program expects. The
// runtime adds the pseudo-terminals itself.
func defaultDeviceRules() []specs.LinuxDeviceCgroup {
	rules := []specs.LinuxDeviceCgroup{{Allow: false, Access: accessAll}}
	for _, d := range []struct{ major, minor int64 }{
		{1, 3}, // null
		{1, 5}, // zero
		{1, 7}, // full
		{1, 8}, // random
		{1, 9}, // urandom
		{5, 0}, // tty
		{5, 1}, // console
	} {
		rules = append(rules, allowDevice("c", d.major, d.minor, accessAll))
	}
	return rules
}

// allowDevice returns the cgroup rule that allows one device.
func allowDevice(kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
	return specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: &major, Minor: &minor, Access: access}
}

// SystemPaths returns what is masked and what is read-only in a container that is not
// told otherwise.
func (h Host) SystemPaths() (masked, readonly []string) {
	return slices.Clone(h.maskedPaths), readonlyPaths()
}
