package containerspec

import (
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// CheckUpdate refuses changes that do not go with what a container has, in Docker's
// words.
func CheckUpdate(has, changed container.Resources) error {
	conflict := func(text string) error { return model.Errorf(model.Conflict, "%s", text) }
	switch {
	case changed.Memory != 0 && changed.MemorySwap == 0 && changed.Memory > has.MemorySwap:
		return conflict("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	case changed.NanoCPUs > 0 && has.CPUPeriod > 0:
		return conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
	case changed.NanoCPUs > 0 && has.CPUQuota > 0:
		return conflict("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
	case changed.CPUPeriod > 0 && has.NanoCPUs > 0:
		return conflict("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
	case changed.CPUQuota > 0 && has.NanoCPUs > 0:
		return conflict("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
	}
	return nil
}

// UpdateResources takes over what changed says; zero says nothing.
func UpdateResources(r *container.Resources, changed container.Resources) {
	for _, n := range []struct {
		to   *int64
		from int64
	}{
		{&r.Memory, changed.Memory}, {&r.MemorySwap, changed.MemorySwap}, {&r.MemoryReservation, changed.MemoryReservation},
		{&r.NanoCPUs, changed.NanoCPUs}, {&r.CPUShares, changed.CPUShares}, {&r.CPUQuota, changed.CPUQuota}, {&r.CPUPeriod, changed.CPUPeriod},
		{&r.CPURealtimePeriod, changed.CPURealtimePeriod}, {&r.CPURealtimeRuntime, changed.CPURealtimeRuntime},
	} {
		if n.from != 0 {
			*n.to = n.from
		}
	}
	if changed.CpusetCpus != "" {
		r.CpusetCpus = changed.CpusetCpus
	}
	if changed.CpusetMems != "" {
		r.CpusetMems = changed.CpusetMems
	}
	if changed.BlkioWeight != 0 {
		r.BlkioWeight = changed.BlkioWeight
	}
	if changed.BlkioWeightDevice != nil {
		r.BlkioWeightDevice = changed.BlkioWeightDevice
	}
	for _, kind := range []struct{ to, from *[]*blkiodev.ThrottleDevice }{
		{&r.BlkioDeviceReadBps, &changed.BlkioDeviceReadBps}, {&r.BlkioDeviceWriteBps, &changed.BlkioDeviceWriteBps},
		{&r.BlkioDeviceReadIOps, &changed.BlkioDeviceReadIOps}, {&r.BlkioDeviceWriteIOps, &changed.BlkioDeviceWriteIOps},
	} {
		if *kind.from != nil {
			*kind.to = *kind.from
		}
	}
	if changed.PidsLimit != nil {
		r.PidsLimit = changed.PidsLimit
	}
}
