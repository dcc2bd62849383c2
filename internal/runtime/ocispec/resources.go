package ocispec

import (
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// cpuPeriod is the length in microseconds of the scheduling period against
// which --cpus is counted.
const cpuPeriod = 100_000

// ApplyLimits writes the limits of r into to and leaves what r does not name.
// Zero means "no limit" in r, which is what a cgroup starts with. Errors: Invalid for a block
// device that is not there.
func ApplyLimits(to *specs.LinuxResources, r model.Resources, host Host) error {
	memory, cpu := orNew(to.Memory), orNew(to.CPU)
	memoryLimits(memory, r, host)
	cpuLimits(cpu, r)
	if *memory != (specs.LinuxMemory{}) {
		to.Memory = memory
	}
	if *cpu != (specs.LinuxCPU{}) {
		to.CPU = cpu
	}
	if r.Pids != 0 {
		to.Pids = &specs.LinuxPids{Limit: &r.Pids}
	}
	if r.BlockIO == nil {
		return nil
	}
	to.BlockIO = orNew(to.BlockIO)
	return blockLimits(to.BlockIO, *r.BlockIO)
}

func orNew[T any](have *T) *T {
	if have == nil {
		return new(T)
	}
	return have
}

func memoryLimits(m *specs.LinuxMemory, r model.Resources, host Host) {
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
}

func cpuLimits(c *specs.LinuxCPU, r model.Resources) {
	if r.CpusetCpus != "" {
		c.Cpus = r.CpusetCpus
	}
	if r.CpusetMems != "" {
		c.Mems = r.CpusetMems
	}
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
	if r.RealtimePeriod != 0 {
		c.RealtimePeriod = positive(r.RealtimePeriod)
	}
	if r.RealtimeRuntime != 0 {
		c.RealtimeRuntime = &r.RealtimeRuntime
	}
}

// blockLimits looks up the numbers of the devices, by which the kernel knows them.
func blockLimits(b *specs.LinuxBlockIO, r model.BlockIO) error {
	if r.Weight != 0 {
		b.Weight = &r.Weight
	}
	if r.DeviceWeights != nil {
		b.WeightDevice = nil
	}
	for _, d := range r.DeviceWeights {
		weight := uint16(min(d.Rate, 1000))
		one := specs.LinuxWeightDevice{Weight: &weight}
		var err error
		if one.Major, one.Minor, err = deviceNumber(d.Path); err != nil {
			return err
		}
		b.WeightDevice = append(b.WeightDevice, one)
	}
	for _, kind := range []struct {
		from []model.DeviceRate
		to   *[]specs.LinuxThrottleDevice
	}{
		{r.ReadBytes, &b.ThrottleReadBpsDevice}, {r.WriteBytes, &b.ThrottleWriteBpsDevice},
		{r.ReadTimes, &b.ThrottleReadIOPSDevice}, {r.WriteTimes, &b.ThrottleWriteIOPSDevice},
	} {
		if kind.from != nil {
			*kind.to = nil
		}
		for _, d := range kind.from {
			one := specs.LinuxThrottleDevice{Rate: d.Rate}
			var err error
			if one.Major, one.Minor, err = deviceNumber(d.Path); err != nil {
				return err
			}
			*kind.to = append(*kind.to, one)
		}
	}
	return nil
}

// deviceNumber returns the number of a device by its node.
func deviceNumber(path string) (major, minor int64, err error) {
	var found unix.Stat_t
	if err := unix.Stat(path, &found); err != nil {
		return 0, 0, model.Errorf(model.Invalid, "%w", &os.PathError{Op: "stat", Path: path, Err: err})
	}
	return int64(unix.Major(found.Rdev)), int64(unix.Minor(found.Rdev)), nil
}

func positive(n int64) *uint64 {
	u := uint64(max(n, 0))
	return &u
}
