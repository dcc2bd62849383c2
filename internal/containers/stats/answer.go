package stats

import (
	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// fill writes what was used in the words of the API.
func fill(out *container.StatsResponse, u model.Usage) {
	out.Read = u.At
	out.CPUStats = container.CPUStats{
		CPUUsage: container.CPUUsage{
			TotalUsage: u.CPU.Total, PercpuUsage: u.CPU.PerCPU, UsageInKernelmode: u.CPU.Kernel, UsageInUsermode: u.CPU.User,
		},
		SystemUsage: u.CPU.System, OnlineCPUs: u.CPU.Online,
		ThrottlingData: container.ThrottlingData{Periods: u.CPU.Periods, ThrottledPeriods: u.CPU.Throttled, ThrottledTime: u.CPU.ThrottledTime},
	}
	out.MemoryStats = container.MemoryStats{
		Usage: u.Memory.Usage, MaxUsage: u.Memory.Max, Stats: u.Memory.Counters, Failcnt: u.Memory.Failures, Limit: u.Memory.Limit,
	}
	out.PidsStats = container.PidsStats{Current: u.Pids.Current, Limit: u.Pids.Limit}
	out.BlkioStats = container.BlkioStats{
		IoServiceBytesRecursive: blocks(u.IO.ServiceBytes), IoServicedRecursive: blocks(u.IO.Serviced), IoQueuedRecursive: blocks(u.IO.Queued),
		IoServiceTimeRecursive: blocks(u.IO.ServiceTime), IoWaitTimeRecursive: blocks(u.IO.WaitTime), IoMergedRecursive: blocks(u.IO.Merged),
		IoTimeRecursive: blocks(u.IO.Time), SectorsRecursive: blocks(u.IO.Sectors),
	}
}

// blocks leaves nil as it is: with cgroup v2 most is null, as with Docker.
func blocks(given []model.IOCount) []container.BlkioStatEntry {
	if given == nil {
		return nil
	}
	out := make([]container.BlkioStatEntry, 0, len(given))
	for _, e := range given {
		out = append(out, container.BlkioStatEntry(e))
	}
	return out
}

func networks(given map[string]model.NetworkUsage) map[string]container.NetworkStats {
	out := make(map[string]container.NetworkStats, len(given))
	for name, n := range given {
		out[name] = container.NetworkStats{
			RxBytes: n.RxBytes, RxPackets: n.RxPackets, RxErrors: n.RxErrors, RxDropped: n.RxDropped,
			TxBytes: n.TxBytes, TxPackets: n.TxPackets, TxErrors: n.TxErrors, TxDropped: n.TxDropped,
		}
	}
	return out
}
