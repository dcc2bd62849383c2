package usage

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"

	"github.com/linkspan/linkspan/internal/model"
)

// procOf writes a /proc with one process.
func procOf(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const netDev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    1286      15    3    4    0     0          0         0     2906       5    6    7    0     0       0          0
 a:b:1: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0
`

func TestProc(t *testing.T) {
	root := procOf(t, map[string]string{
		"stat":      "cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 1 1 1 1 1 1 0 0 0\ncpu1 1 1 1 1 1 1 1 0 0 0\nintr 5\ncpufoo 1\n",
		"meminfo":   "MemTotal:        1024 kB\nMemFree: 1 kB\n",
		"7/net/dev": netDev,
	})
	out := model.Usage{Memory: model.MemoryUsage{Limit: 1 << 60}}
	if err := (&Reader{proc: root}).fromProc(&out, 7); err != nil {
		t.Fatal(err)
	}
	want := model.Usage{
		CPU: model.CPUUsage{System: 280 * 1e7, Online: 2}, Memory: model.MemoryUsage{Limit: 1 << 20},
		Networks: map[string]model.NetworkUsage{
			"eth0":  {RxBytes: 1286, RxPackets: 15, RxErrors: 3, RxDropped: 4, TxBytes: 2906, TxPackets: 5, TxErrors: 6, TxDropped: 7},
			"a:b:1": {RxBytes: 1, RxPackets: 2, RxErrors: 3, RxDropped: 4, TxBytes: 5, TxPackets: 6, TxErrors: 7, TxDropped: 8},
		},
	}
	if !reflect.DeepEqual(out, want) {
		t.Errorf("%+v, want\n%+v", out, want)
	}
	if err := (&Reader{proc: root}).fromProc(&out, 8); model.KindOf(err) != model.NotFound {
		t.Errorf("a process that has ended: %v", err)
	}
	small := model.Usage{Memory: model.MemoryUsage{Limit: 4096}}
	if err := (&Reader{proc: root}).fromProc(&small, 7); err != nil || small.Memory.Limit != 4096 {
		t.Errorf("a limit of its own: %d, %v", small.Memory.Limit, err)
	}
}

func TestCgroups(t *testing.T) {
	got, err := fromCgroup(&v1.Metrics{
		CPU:    &v1.CPUStat{Usage: &v1.CPUUsage{Total: 9, Kernel: 4, User: 5, PerCPU: []uint64{4, 5}}, Throttling: &v1.Throttle{Periods: 3, ThrottledPeriods: 2, ThrottledTime: 1}},
		Memory: &v1.MemoryStat{Cache: 1, TotalInactiveFile: 2, Usage: &v1.MemoryEntry{Usage: 10, Max: 11, Limit: 12, Failcnt: 13}},
		Blkio:  &v1.BlkIOStat{IoServiceBytesRecursive: []*v1.BlkIOEntry{{Major: 8, Minor: 1, Op: "Read", Value: 7}}},
		Pids:   &v1.PidsStat{Current: 2, Limit: 3},
	})
	if err != nil || got.CPU.Total != 9 || got.CPU.PerCPU[1] != 5 || got.CPU.ThrottledTime != 1 || got.Memory.Usage != 10 || got.Memory.Max != 11 ||
		got.Memory.Failures != 13 || got.Memory.Counters["total_inactive_file"] != 2 || got.IO.ServiceBytes[0] != (model.IOCount{Major: 8, Minor: 1, Op: "Read", Value: 7}) ||
		got.Pids != (model.PidsUsage{Current: 2, Limit: 3}) {
		t.Errorf("v1: %+v, %v", got, err)
	}
	got, err = fromCgroup(&v2.Metrics{
		CPU:          &v2.CPUStat{UsageUsec: 9, SystemUsec: 4, UserUsec: 5, NrPeriods: 3, NrThrottled: 2, ThrottledUsec: 1},
		Memory:       &v2.MemoryStat{Usage: 10, UsageLimit: 12, InactiveFile: 2},
		MemoryEvents: &v2.MemoryEvents{Oom: 13},
		Io:           &v2.IOStat{Usage: []*v2.IOEntry{{Major: 8, Minor: 1, Rbytes: 7, Wbytes: 6}}},
		Pids:         &v2.PidsStat{Current: 2, Limit: 3},
	})
	if err != nil || got.CPU.Total != 9000 || got.CPU.Kernel != 4000 || got.CPU.ThrottledTime != 1000 || got.Memory.Usage != 10 || got.Memory.Limit != 12 ||
		got.Memory.Failures != 13 || got.Memory.Counters["inactive_file"] != 2 || len(got.IO.ServiceBytes) != 2 || got.IO.ServiceBytes[1] != (model.IOCount{Major: 8, Minor: 1, Op: "write", Value: 6}) {
		t.Errorf("v2: %+v, %v", got, err)
	}
	for _, empty := range []any{&v1.Metrics{}, &v2.Metrics{}} {
		if _, err := fromCgroup(empty); err != nil {
			t.Errorf("%T: %v", empty, err)
		}
	}
	if _, err := fromCgroup("windows"); model.KindOf(err) != model.NotImplemented {
		t.Errorf("another kind: %v", err)
	}
}

// FuzzInterface: names of interfaces are chosen by containers.
func FuzzInterface(f *testing.F) {
	for line := range strings.Lines(netDev) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if name, _, ok := parseInterface(line); ok && !strings.Contains(line, name) {
			t.Errorf("%q: %q", line, name)
		}
	})
}
