package ocispec

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
)

// testHost is a host on which nothing is missing.
func testHost() Host {
	return Host{
		capabilities:      append(defaultCapabilities(), "CAP_NET_ADMIN", "CAP_SYS_ADMIN"),
		swapLimit:         true,
		recursiveReadOnly: true,
		InitPath:          "/usr/bin/tini",
		maskedPaths:       maskedPaths("/nonexistent"),
		netSysctls:        map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"},
	}
}

func testSpec() model.ContainerSpec {
	return model.ContainerSpec{ID: "c1", Hostname: "box", Netns: "/run/netns/c1",
		Process: model.Process{Args: []string{"sh"}}}
}

func built(t *testing.T, spec model.ContainerSpec, host Host) *specs.Spec {
	t.Helper()
	s, err := Build(spec, specs.User{}, host)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestCheck: what can never be made is refused before anything is.
func TestCheck(t *testing.T) {
	host := testHost()
	for text, change := range map[string]func(*model.ContainerSpec){
		"":                          func(*model.ContainerSpec) {},
		`unknown capability: "CAP_`: func(s *model.ContainerSpec) { s.CapDrop = []string{"bogus"} },
		"invalid --security-opt 2":  func(s *model.ContainerSpec) { s.SecurityOpts = []string{"bogus"} },
		"ulimit soft limit must be": func(s *model.ContainerSpec) { s.Process.Rlimits = []model.Rlimit{{Name: "nofile", Soft: 2, Hard: 1}} },
		"destination can't be '/'":  func(s *model.ContainerSpec) { s.Mounts = []model.Mount{{Type: "tmpfs", Target: "/a/.."}} },
	} {
		spec := testSpec()
		change(&spec)
		err := host.Check(spec)
		switch {
		case text == "" && err != nil:
			t.Error(err)
		case text != "" && (model.KindOf(err) != model.Invalid || !strings.Contains(err.Error(), text)):
			t.Errorf("%v, want: %s", err, text)
		}
	}
}

func TestDefaultConfinementIsDockers(t *testing.T) {
	s := built(t, testSpec(), testHost())
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
		"CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
		"CAP_KILL", "CAP_AUDIT_WRITE"}
	same(t, "capabilities", s.Process.Capabilities,
		&specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps})
	same(t, "masked", maskedPaths(t.TempDir()), []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore",
		"/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
		"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"})
	same(t, "read-only", s.Linux.ReadonlyPaths,
		[]string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"})
	same(t, "namespaces", s.Linux.Namespaces, []specs.LinuxNamespace{{Type: "mount"}, {Type: "uts"}, {Type: "pid"},
		{Type: "ipc"}, {Type: "network", Path: "/run/netns/c1"}})
	same(t, "sysctls", s.Linux.Sysctl, map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"})
	same(t, "environment", s.Process.Env, []string{defaultPath, "HOSTNAME=box"})
	same(t, "cgroup", s.Linux.CgroupsPath, "/linkspan/c1")
	if s.Linux.Seccomp == nil || s.Linux.Seccomp.DefaultAction != specs.ActErrno {
		t.Error("no seccomp profile")
	}
	if s.Process.Rlimits != nil || s.Process.NoNewPrivileges || s.Root.Readonly {
		t.Error("set without being asked for")
	}
	if first := s.Linux.Resources.Devices[0]; first.Allow || first.Access != "rwm" {
		t.Errorf("devices are not denied first: %+v", first)
	}
}

func TestPrivilegedSpec(t *testing.T) {
	spec, host := testSpec(), testHost()
	spec.Privileged, spec.CapDrop = true, []string{"ALL"}
	s := built(t, spec, host)
	same(t, "capabilities", s.Process.Capabilities.Effective, host.capabilities)
	if s.Linux.Seccomp != nil || s.Linux.MaskedPaths != nil || s.Linux.ReadonlyPaths != nil {
		t.Error("still confined")
	}
	for _, m := range s.Mounts {
		if strings.HasPrefix(m.Destination, "/sys") && slices.Contains(m.Options, "ro") {
			t.Errorf("%s is read-only", m.Destination)
		}
	}
	same(t, "devices", s.Linux.Resources.Devices, []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}})
}

func TestCapabilityChanges(t *testing.T) {
	all := testHost().capabilities
	without := func(name string) []string {
		return slices.DeleteFunc(defaultCapabilities(), func(c string) bool { return c == name })
	}
	for name, tc := range map[string]struct {
		add, drop []string
		want      []string
	}{
		"add":              {[]string{"net_admin"}, nil, append(defaultCapabilities(), "CAP_NET_ADMIN")},
		"add what is":      {[]string{"CAP_CHOWN"}, nil, defaultCapabilities()},
		"drop":             {nil, []string{"CAP_NET_RAW"}, without("CAP_NET_RAW")},
		"drop all":         {nil, []string{"all"}, nil},
		"drop all but one": {[]string{"CHOWN"}, []string{"ALL"}, []string{"CAP_CHOWN"}},
		"all":              {[]string{"ALL"}, nil, all},
		"all but one": {[]string{"ALL"}, []string{"SYS_ADMIN"},
			slices.DeleteFunc(slices.Clone(all), func(c string) bool { return c == "CAP_SYS_ADMIN" })},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := capabilities(model.ContainerSpec{CapAdd: tc.add, CapDrop: tc.drop}, all)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "capabilities", got, tc.want)
		})
	}
	_, err := capabilities(model.ContainerSpec{CapAdd: []string{"FLY"}}, all)
	if model.KindOf(err) != model.Invalid || err.Error() != `invalid CapAdd: unknown capability: "CAP_FLY"` {
		t.Errorf("error %v", err)
	}
	if sets := capabilitySets(all, 1000); sets.Effective != nil || sets.Permitted != nil || len(sets.Bounding) == 0 {
		t.Errorf("sets of a user %+v", sets)
	}
}

func TestHostNamespaces(t *testing.T) {
	spec, host := testSpec(), testHost()
	spec.Netns, spec.HostPID, spec.HostIPC, spec.HostUTS = "", true, true, true
	spec.Domain = "example.org"
	s := built(t, spec, host)
	same(t, "namespaces", s.Linux.Namespaces, []specs.LinuxNamespace{{Type: "mount"}})
	same(t, "sysctls", s.Linux.Sysctl, map[string]string{})
	if s.Hostname != "" {
		t.Error("hostname set in the host's namespace")
	}
	shm := s.Mounts[slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/dev/shm" })]
	same(t, "shm", shm, specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm",
		Options: []string{"rbind", "nosuid", "noexec", "nodev"}})
	host.cgroupns = true
	for _, shared := range []bool{false, true} {
		spec := testSpec()
		spec.HostCgroup = shared
		if own := slices.Contains(built(t, spec, host).Linux.Namespaces, specs.LinuxNamespace{Type: "cgroup"}); own == shared {
			t.Errorf("host's cgroups %t: a cgroup namespace of its own: %t", shared, own)
		}
	}
}

func TestMounts(t *testing.T) {
	spec, host := testSpec(), testHost()
	spec.Mounts = []model.Mount{
		{Type: "bind", Source: "/h/deep", Target: "/data/../data/deep/", ReadOnly: true},
		{Type: "bind", Source: "/h", Target: "/data", Propagation: "rslave"},
		{Type: "tmpfs", Target: "/dev/shm", Options: []string{"exec"}},
	}
	s := built(t, spec, host)
	same(t, "last mounts", s.Mounts[len(s.Mounts)-3:], []specs.Mount{
		{Destination: "/data", Type: "bind", Source: "/h", Options: []string{"rbind", "rw", "rslave"}},
		{Destination: "/data/deep", Type: "bind", Source: "/h/deep", Options: []string{"rbind", "ro", "rro", "rprivate"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "rprivate", "exec"}},
	}[:])
	if s.Linux.RootfsPropagation != "rslave" {
		t.Errorf("propagation %q", s.Linux.RootfsPropagation)
	}
	shm := 0
	for _, m := range s.Mounts {
		if m.Destination == "/dev/shm" {
			shm++
		}
	}
	if shm != 1 {
		t.Errorf("%d mounts on /dev/shm", shm)
	}
	for _, bad := range []model.Mount{
		{Type: "bind", Source: "/h", Target: "data"}, {Type: "bind", Source: "h", Target: "/data"},
		{Type: "bind", Source: "/h", Target: "/data/.."}, {Type: "overlay", Target: "/data"},
	} {
		spec.Mounts = []model.Mount{bad}
		if _, err := Build(spec, specs.User{}, host); model.KindOf(err) != model.Invalid {
			t.Errorf("%+v: %v, want Invalid", bad, err)
		}
	}
}

func TestResources(t *testing.T) {
	host := testHost()
	var got specs.LinuxResources
	limit := func(r model.Resources) {
		t.Helper()
		if err := ApplyLimits(&got, r, host); err != nil {
			t.Fatal(err)
		}
	}
	limit(model.Resources{})
	same(t, "no limits", got, specs.LinuxResources{})
	limit(model.Resources{Memory: 1 << 20, MemorySwap: -1, NanoCPUs: 15e8, CPUShares: 2, CpusetCpus: "0-1", Pids: 7})
	if *got.Memory.Limit != 1<<20 || *got.Memory.Swap != -1 || *got.CPU.Quota != 150000 || *got.CPU.Period != 100000 ||
		*got.CPU.Shares != 2 || got.CPU.Cpus != "0-1" || *got.Pids.Limit != 7 {
		t.Errorf("limits %+v", got)
	}
	limit(model.Resources{MemoryReservation: 5, CPUShares: 3})
	if *got.Memory.Limit != 1<<20 || *got.Memory.Reservation != 5 || *got.CPU.Quota != 150000 || *got.CPU.Shares != 3 {
		t.Errorf("what a change does not name is gone: %+v %+v", got.Memory, got.CPU)
	}
	limit(model.Resources{BlockIO: &model.BlockIO{Weight: 300, DeviceWeights: []model.DeviceRate{{Path: "/dev/null", Rate: 20}},
		ReadBytes: []model.DeviceRate{{Path: "/dev/zero", Rate: 1 << 20}}}})
	if b := got.BlockIO; *b.Weight != 300 || *b.WeightDevice[0].Weight != 20 || b.WeightDevice[0].Major != 1 || b.WeightDevice[0].Minor != 3 ||
		b.ThrottleReadBpsDevice[0].Minor != 5 || b.ThrottleReadBpsDevice[0].Rate != 1<<20 || b.ThrottleWriteBpsDevice != nil {
		t.Errorf("block devices %+v", got.BlockIO)
	}
	err := ApplyLimits(&got, model.Resources{BlockIO: &model.BlockIO{ReadBytes: []model.DeviceRate{{Path: "/dev/no-such", Rate: 1}}}}, host)
	if model.KindOf(err) != model.Invalid || err.Error() != "stat /dev/no-such: no such file or directory" {
		t.Errorf("a device that is not there: %v", err)
	}
	host.swapLimit, got = false, specs.LinuxResources{}
	limit(model.Resources{MemorySwap: 5, Memory: 4})
	if got.Memory.Swap != nil || *got.Memory.Limit != 4 {
		t.Errorf("swap limited where it cannot be: %+v", got.Memory)
	}
}

func TestRlimits(t *testing.T) {
	got, err := rlimits([]model.Rlimit{{Name: "nofile", Soft: 10, Hard: 20}, {Name: "core", Soft: -1, Hard: -1}})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "limits", got, []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 10, Hard: 20},
		{Type: "RLIMIT_CORE", Soft: math.MaxUint64, Hard: math.MaxUint64}})
	for _, bad := range []model.Rlimit{{Name: "No File"}, {Name: "nofile", Soft: -1, Hard: 5}} {
		if _, err := rlimits([]model.Rlimit{bad}); model.KindOf(err) != model.Invalid {
			t.Errorf("%+v: %v, want Invalid", bad, err)
		}
	}
}

func TestSecurityOpts(t *testing.T) {
	for opt, want := range map[string]security{
		"no-new-privileges":       {noNewPrivileges: true},
		"no-new-privileges:true":  {noNewPrivileges: true},
		"no-new-privileges=false": {},
		"seccomp=unconfined":      {noSeccomp: true},
		"seccomp={}":              {seccomp: "{}"},
		"apparmor=unconfined":     {apparmor: "unconfined"},
		"systempaths=unconfined":  {noMasks: true},
		"label=disable":           {},
	} {
		if got, err := parseSecurity([]string{opt}); err != nil || got != want {
			t.Errorf("%s: %+v %v, want %+v", opt, got, err, want)
		}
	}
	for opt, kind := range map[string]model.Kind{"wings=on": model.Invalid, "no-new-privileges=maybe": model.Invalid} {
		if _, err := parseSecurity([]string{opt}); model.KindOf(err) != kind {
			t.Errorf("%s: %v", opt, err)
		}
	}
}

func TestCgroupPathStaysInside(t *testing.T) {
	for parent, want := range map[string]string{"": "/linkspan/c1", "/a": "/a/c1", "a/b": "/a/b/c1", "../../x": "/x/c1"} {
		if got := CgroupPath(model.ContainerSpec{ID: "c1", CgroupParent: parent}); got != want {
			t.Errorf("%q: %s, want %s", parent, got, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	got := Environment("box", true, []string{"A=1", "PATH=/bin", "TERM", "A=2", "EMPTY="})
	same(t, "environment", got, []string{"PATH=/bin", "HOSTNAME=box", "A=2", "EMPTY="})
}

func TestInit(t *testing.T) {
	spec, host := testSpec(), testHost()
	spec.Init = true
	s := built(t, spec, host)
	same(t, "args", s.Process.Args, []string{"/sbin/docker-init", "--", "sh"})
	same(t, "mount", s.Mounts[slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/sbin/docker-init" })], specs.Mount{Destination: "/sbin/docker-init", Type: "bind",
		Source: "/usr/bin/tini", Options: []string{"bind", "ro"}})
}

// TestMaskedPaths: nil is the default, an empty list none, and privileged containers
// have none.
func TestMaskedPaths(t *testing.T) {
	for name, c := range map[string]struct {
		change           func(*model.ContainerSpec)
		masked, readonly []string
	}{
		"default":    {func(*model.ContainerSpec) {}, maskedPaths("/nonexistent"), readonlyPaths()},
		"more":       {func(s *model.ContainerSpec) { s.MaskedPaths = []string{"/proc/cpuinfo"} }, []string{"/proc/cpuinfo"}, readonlyPaths()},
		"none":       {func(s *model.ContainerSpec) { s.MaskedPaths, s.ReadonlyPaths = []string{}, []string{} }, []string{}, []string{}},
		"unconfined": {func(s *model.ContainerSpec) { s.SecurityOpts = []string{"systempaths=unconfined"} }, nil, nil},
		"privileged": {func(s *model.ContainerSpec) { s.Privileged, s.MaskedPaths = true, []string{"/x"} }, nil, nil},
	} {
		spec := testSpec()
		c.change(&spec)
		s := built(t, spec, testHost())
		same(t, name+": masked", s.Linux.MaskedPaths, c.masked)
		same(t, name+": read-only", s.Linux.ReadonlyPaths, c.readonly)
	}
}

// TestThrottledCPUsAreMasked: GHSA-6fw5-f8r9-fgfm.
func TestThrottledCPUsAreMasked(t *testing.T) {
	cpus := t.TempDir()
	for _, dir := range []string{"cpu0/thermal_throttle", "cpu1/topology", "cpu17/thermal_throttle", "cpufreq/thermal_throttle"} {
		if err := os.MkdirAll(filepath.Join(cpus, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got := maskedPaths(cpus)
	for _, want := range []string{"/proc/interrupts", "/sys/devices/system/cpu/cpu0/thermal_throttle", "/sys/devices/system/cpu/cpu17/thermal_throttle"} {
		if !slices.Contains(got, want) {
			t.Errorf("%v lacks %s", got, want)
		}
	}
	if len(got) != len(maskedPaths(t.TempDir()))+2 {
		t.Errorf("too much is masked: %v", got)
	}
}

// TestExecEnvironment: TERM is for a process that has a terminal itself.
func TestExecEnvironment(t *testing.T) {
	for _, c := range []struct {
		own      []string
		terminal bool // of the container
		tty      bool // of the exec
		given    []string
		want     []string
	}{
		{[]string{"PATH=/bin"}, false, false, []string{"A=1"}, []string{"PATH=/bin", "A=1"}},
		{[]string{"PATH=/bin"}, false, true, nil, []string{"PATH=/bin", "TERM=xterm"}},
		{[]string{"PATH=/bin", "TERM=xterm", "B=2"}, true, false, nil, []string{"PATH=/bin", "B=2"}},
		{[]string{"PATH=/bin", "TERM=vt100"}, true, false, nil, []string{"PATH=/bin", "TERM=vt100"}},
		{[]string{"TERM=xterm"}, false, false, nil, []string{"TERM=xterm"}},
		{[]string{"TERM=xterm"}, true, false, []string{"TERM=dumb"}, []string{"TERM=dumb"}},
	} {
		own := &specs.Process{Env: c.own, Terminal: c.terminal}
		same(t, "environment", execEnvironment(own, c.tty, c.given), c.want)
	}
}
