package ocispec

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
)

// cpuPeriod is the length in microseconds of the scheduling period against
// which --cpus is counted.
const cpuPeriod = 100_000

// ApplyLimits writes the limits of r into to and leaves what r does not name.
// Zero means "no limit" in r, which is what a cgroup starts with.
func ApplyLimits(to *specs.LinuxResources, r model.Resources, host Host) {
	if m := memoryLimits(r, host); m != nil {
		to.Memory = m
	}
	if c := cpuLimits(r); c != nil {
		to.CPU = c
	}
	if r.Pids != 0 {
		to.Pids = &specs.LinuxPids{Limit: &r.Pids}
	}
}

func memoryLimits(r model.Resources, host Host) *specs.LinuxMemory {
	var m specs.LinuxMemory
	if r.Memory != 0 {
		m.Limit = &r.Memory
	}
	if r.MemoryReservation != 0 {
		m.Reservation = &r.MemoryReservation
	}
	// A kernel without swap accounting has no file to write this limit to.
	if r.MemorySwap != 0 && host.swapLimit {
		m.Swap = &r.MemorySwap
	}
	// Both are settings of cgroups of version 1 alone.
	if r.Swappiness != 0 && !host.Cgroup2 {
		m.Swappiness = positive(r.Swappiness - 1)
	}
	if r.NoOOMKiller && !host.Cgroup2 {
		m.DisableOOMKiller = &r.NoOOMKiller
	}
	if m == (specs.LinuxMemory{}) {
		return nil
	}
	return &m
}

func cpuLimits(r model.Resources) *specs.LinuxCPU {
	c := specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
	if r.CPUShares != 0 {
		c.Shares = positive(r.CPUShares)
	}
	if r.CPUPeriod != 0 {
		c.Period = positive(r.CPUPeriod)
	}
	if r.CPUQuota != 0 {
		c.Quota = &r.CPUQuota
	}
	if r.NanoCPUs > 0 {
		quota := r.NanoCPUs * cpuPeriod / 1e9
		c.Quota, c.Period = &quota, positive(cpuPeriod)
	}
	if c == (specs.LinuxCPU{}) {
		return nil
	}
	return &c
}

func positive(n int64) *uint64 {
	u := uint64(max(n, 0))
	return &u
}
