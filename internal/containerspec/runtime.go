package containerspec

import (
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// WantsInit tells whether the container's process gets an init before it. Among
// the processes of others it would not be process 1 and could reap nothing. standard is
// the daemon's setting, for containers that say nothing.
func WantsInit(h *container.HostConfig, standard bool) bool {
	if !h.PidMode.IsPrivate() {
		return false
	}
	if h.Init == nil {
		return standard
	}
	return *h.Init
}

// Devices returns the devices that a container asks for.
func Devices(given []container.DeviceMapping) []model.Device {
	var out []model.Device
	for _, d := range given {
		out = append(out, model.Device{Source: d.PathOnHost, Target: d.PathInContainer, Permissions: d.CgroupPermissions})
	}
	return out
}

// Resources returns the limits of a container, as the runtime takes them.
func Resources(r container.Resources) model.Resources {
	out := model.Resources{
		Memory: r.Memory, MemorySwap: r.MemorySwap, MemoryReservation: r.MemoryReservation,
		NanoCPUs: r.NanoCPUs, CPUShares: r.CPUShares, CPUQuota: r.CPUQuota, CPUPeriod: r.CPUPeriod,
		CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems,
	}
	if r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 {
		out.Swappiness = *r.MemorySwappiness + 1
	}
	out.RealtimePeriod, out.RealtimeRuntime, out.BlockIO = r.CPURealtimePeriod, r.CPURealtimeRuntime, blockIO(r)
	out.NoOOMKiller = r.OomKillDisable != nil && *r.OomKillDisable
	if r.PidsLimit != nil {
		out.Pids = max(*r.PidsLimit, -1) // 0 says nothing, below is "no limit" said aloud
	}
	return out
}

// blockIO returns the limits on block devices; nil if there are none.
func blockIO(r container.Resources) *model.BlockIO {
	out := model.BlockIO{Weight: r.BlkioWeight}
	for _, d := range r.BlkioWeightDevice {
		if d != nil {
			out.DeviceWeights = append(out.DeviceWeights, model.DeviceRate{Path: d.Path, Rate: uint64(d.Weight)})
		}
	}
	given := out.Weight != 0 || len(out.DeviceWeights) > 0
	for _, kind := range []struct {
		from []*blkiodev.ThrottleDevice
		to   *[]model.DeviceRate
	}{
		{r.BlkioDeviceReadBps, &out.ReadBytes}, {r.BlkioDeviceWriteBps, &out.WriteBytes},
		{r.BlkioDeviceReadIOps, &out.ReadTimes}, {r.BlkioDeviceWriteIOps, &out.WriteTimes},
	} {
		for _, d := range kind.from {
			if d != nil {
				*kind.to = append(*kind.to, model.DeviceRate{Path: d.Path, Rate: d.Rate})
				given = true
			}
		}
	}
	if !given {
		return nil
	}
	return &out
}

// ChangedResources returns what an update changes, as the runtime takes it: there, 0 processes
// is no limit.
func ChangedResources(r container.Resources) model.Resources {
	out := Resources(r)
	if r.PidsLimit != nil && *r.PidsLimit <= 0 {
		out.Pids = -1
	}
	return out
}
