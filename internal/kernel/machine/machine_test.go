package machine

import (
	"testing"
	"testing/fstest"

	"github.com/linkspan/linkspan/internal/facts"
)

func TestRead(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	v2 := Read(fstest.MapFS{
		"etc/os-release":                         file("NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\n"),
		"proc/sys/kernel/osrelease":              file("6.1.0-9-amd64\n"),
		"proc/sys/kernel/hostname":               file("h1\n"),
		"proc/meminfo":                           file("MemTotal:        2048 kB\nMemFree: 1 kB\n"),
		"proc/sys/net/ipv4/ip_forward":           file("1\n"),
		"sys/module/apparmor/parameters/enabled": file("Y\n"),
		"sys/fs/cgroup/cgroup.controllers":       file("cpuset cpu io memory pids\n"),
		"proc/sys/kernel/seccomp/actions_avail":  file("kill\n"),
	})
	want := facts.Machine{Kernel: "6.1.0-9-amd64", System: "Debian GNU/Linux 12 (bookworm)", SystemVersion: "12", Name: "h1", Memory: 2 << 20,
		Forwarding4: true, CgroupVersion: "2", Seccomp: true, AppArmor: true, CPUControl: true, MemoryControl: true,
		SwapControl: true, CPUSetControl: true, ProcessControl: true, BlockControl: facts.BlockControl{ReadBytes: true, WriteBytes: true, ReadTimes: true, WriteTimes: true}}
	if v2 != want {
		t.Errorf("%+v\nwant %+v", v2, want)
	}
	v1 := Read(fstest.MapFS{"sys/fs/cgroup/memory/tasks": file(""), "proc/meminfo": file("MemTotal: lots kB")})
	if want := (facts.Machine{System: "Linux", CgroupVersion: "1", MemoryControl: true}); v1 != want {
		t.Errorf("%+v\nwant %+v", v1, want)
	}
}
