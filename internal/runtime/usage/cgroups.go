package usage

import (
	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"

	"github.com/linkspan/linkspan/internal/model"
)

// fromCgroup translates the counters of a cgroup of either version.
func fromCgroup(counted any) (model.Usage, error) {
	switch m := counted.(type) {
	case *v1.Metrics:
		return fromV1(m), nil
	case *v2.Metrics:
		return fromV2(m), nil
	}
	return model.Usage{}, model.Errorf(model.NotImplemented, "the runtime counts in a way that is not known: %T", counted)
}

func fromV1(m *v1.Metrics) model.Usage {
	cpu, times, throttling := m.GetCPU(), m.GetCPU().GetUsage(), m.GetCPU().GetThrottling()
	out := model.Usage{
		Memory: memoryV1(m.GetMemory()), IO: ioV1(m.GetBlkio()),
		Pids: model.PidsUsage{Current: m.GetPids().GetCurrent(), Limit: m.GetPids().GetLimit()},
	}
	if cpu != nil {
		out.CPU = model.CPUUsage{
			Total: times.GetTotal(), Kernel: times.GetKernel(), User: times.GetUser(), PerCPU: times.GetPerCPU(),
			Periods: throttling.GetPeriods(), Throttled: throttling.GetThrottledPeriods(), ThrottledTime: throttling.GetThrottledTime(),
		}
	}
	return out
}

func memoryV1(m *v1.MemoryStat) model.MemoryUsage {
	if m == nil {
		return model.MemoryUsage{}
	}
	u := m.GetUsage()
	return model.MemoryUsage{
		Usage: u.GetUsage(), Max: u.GetMax(), Limit: u.GetLimit(), Failures: u.GetFailcnt(),
		Counters: map[string]uint64{
			"cache": m.Cache, "rss": m.RSS, "rss_huge": m.RSSHuge, "mapped_file": m.MappedFile, "dirty": m.Dirty, "writeback": m.Writeback,
			"pgpgin": m.PgPgIn, "pgpgout": m.PgPgOut, "pgfault": m.PgFault, "pgmajfault": m.PgMajFault,
			"inactive_anon": m.InactiveAnon, "active_anon": m.ActiveAnon, "inactive_file": m.InactiveFile, "active_file": m.ActiveFile,
			"unevictable": m.Unevictable, "hierarchical_memory_limit": m.HierarchicalMemoryLimit, "hierarchical_memsw_limit": m.HierarchicalSwapLimit,
			"total_cache": m.TotalCache, "total_rss": m.TotalRSS, "total_rss_huge": m.TotalRSSHuge, "total_mapped_file": m.TotalMappedFile,
			"total_dirty": m.TotalDirty, "total_writeback": m.TotalWriteback, "total_pgpgin": m.TotalPgPgIn, "total_pgpgout": m.TotalPgPgOut,
			"total_pgfault": m.TotalPgFault, "total_pgmajfault": m.TotalPgMajFault, "total_inactive_anon": m.TotalInactiveAnon,
			"total_active_anon": m.TotalActiveAnon, "total_inactive_file": m.TotalInactiveFile, "total_active_file": m.TotalActiveFile,
			"total_unevictable": m.TotalUnevictable,
		},
	}
}

func ioV1(b *v1.BlkIOStat) model.IOUsage {
	if b == nil {
		return model.IOUsage{}
	}
	return model.IOUsage{
		ServiceBytes: entries(b.IoServiceBytesRecursive), Serviced: entries(b.IoServicedRecursive), Queued: entries(b.IoQueuedRecursive),
		ServiceTime: entries(b.IoServiceTimeRecursive), WaitTime: entries(b.IoWaitTimeRecursive), Merged: entries(b.IoMergedRecursive),
		Time: entries(b.IoTimeRecursive), Sectors: entries(b.SectorsRecursive),
	}
}

func entries(given []*v1.BlkIOEntry) []model.IOCount {
	out := make([]model.IOCount, 0, len(given))
	for _, e := range given {
		out = append(out, model.IOCount{Major: e.GetMajor(), Minor: e.GetMinor(), Op: e.GetOp(), Value: e.GetValue()})
	}
	return out
}

func fromV2(m *v2.Metrics) model.Usage {
	const microsecond = 1000 // in nanoseconds
	cpu := m.GetCPU()
	out := model.Usage{
		CPU: model.CPUUsage{
			Total: cpu.GetUsageUsec() * microsecond, Kernel: cpu.GetSystemUsec() * microsecond, User: cpu.GetUserUsec() * microsecond,
			Periods: cpu.GetNrPeriods(), Throttled: cpu.GetNrThrottled(), ThrottledTime: cpu.GetThrottledUsec() * microsecond,
		},
		Memory: memoryV2(m.GetMemory()),
		Pids:   model.PidsUsage{Current: m.GetPids().GetCurrent(), Limit: m.GetPids().GetLimit()},
	}
	out.Memory.Failures = m.GetMemoryEvents().GetOom()
	for _, e := range m.GetIo().GetUsage() {
		out.IO.ServiceBytes = append(out.IO.ServiceBytes,
			model.IOCount{Major: e.GetMajor(), Minor: e.GetMinor(), Op: "read", Value: e.GetRbytes()},
			model.IOCount{Major: e.GetMajor(), Minor: e.GetMinor(), Op: "write", Value: e.GetWbytes()})
	}
	return out
}

func memoryV2(m *v2.MemoryStat) model.MemoryUsage {
	if m == nil {
		return model.MemoryUsage{}
	}
	return model.MemoryUsage{
		Usage: m.Usage, Limit: m.UsageLimit,
		Counters: map[string]uint64{
			"anon": m.Anon, "file": m.File, "kernel_stack": m.KernelStack, "slab": m.Slab, "sock": m.Sock, "shmem": m.Shmem,
			"file_mapped": m.FileMapped, "file_dirty": m.FileDirty, "file_writeback": m.FileWriteback, "anon_thp": m.AnonThp,
			"inactive_anon": m.InactiveAnon, "active_anon": m.ActiveAnon, "inactive_file": m.InactiveFile, "active_file": m.ActiveFile,
			"unevictable": m.Unevictable, "slab_reclaimable": m.SlabReclaimable, "slab_unreclaimable": m.SlabUnreclaimable,
			"pgfault": m.Pgfault, "pgmajfault": m.Pgmajfault, "workingset_refault": m.WorkingsetRefault,
			"workingset_activate": m.WorkingsetActivate, "workingset_nodereclaim": m.WorkingsetNodereclaim,
			"pgrefill": m.Pgrefill, "pgscan": m.Pgscan, "pgsteal": m.Pgsteal, "pgactivate": m.Pgactivate, "pgdeactivate": m.Pgdeactivate,
			"pglazyfree": m.Pglazyfree, "pglazyfreed": m.Pglazyfreed, "thp_fault_alloc": m.ThpFaultAlloc, "thp_collapse_alloc": m.ThpCollapseAlloc,
		},
	}
}
