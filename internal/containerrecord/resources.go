package containerrecord

import (
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
)

// storedResources is container.Resources as it is stored.
type storedResources struct {
	CPUShares            int64                 `json:"CpuShares,omitzero"`
	Memory               int64                 `json:"Memory,omitzero"` // bytes, as all memory here
	NanoCPUs             int64                 `json:"NanoCpus,omitzero"`
	CgroupParent         string                `json:"CgroupParent,omitzero"`
	BlkioWeight          uint16                `json:"BlkioWeight,omitzero"`
	BlkioWeightDevice    []*storedWeight       `json:"BlkioWeightDevice,omitzero"`
	BlkioDeviceReadBps   []*storedThrottle     `json:"BlkioDeviceReadBps,omitzero"`
	BlkioDeviceWriteBps  []*storedThrottle     `json:"BlkioDeviceWriteBps,omitzero"`
	BlkioDeviceReadIOps  []*storedThrottle     `json:"BlkioDeviceReadIOps,omitzero"`
	BlkioDeviceWriteIOps []*storedThrottle     `json:"BlkioDeviceWriteIOps,omitzero"`
	CPUPeriod            int64                 `json:"CpuPeriod,omitzero"`
	CPUQuota             int64                 `json:"CpuQuota,omitzero"`
	CPURealtimePeriod    int64                 `json:"CpuRealtimePeriod,omitzero"`
	CPURealtimeRuntime   int64                 `json:"CpuRealtimeRuntime,omitzero"`
	CpusetCpus           string                `json:"CpusetCpus,omitzero"`
	CpusetMems           string                `json:"CpusetMems,omitzero"`
	Devices              []storedDevice        `json:"Devices,omitzero"`
	DeviceCgroupRules    []string              `json:"DeviceCgroupRules,omitzero"`
	DeviceRequests       []storedDeviceRequest `json:"DeviceRequests,omitzero"`
	MemoryReservation    int64                 `json:"MemoryReservation,omitzero"`
	MemorySwap           int64                 `json:"MemorySwap,omitzero"`
	MemorySwappiness     *int64                `json:"MemorySwappiness,omitzero"`
	OomKillDisable       *bool                 `json:"OomKillDisable,omitzero"`
	PidsLimit            *int64                `json:"PidsLimit,omitzero"`
	Ulimits              []*storedUlimit       `json:"Ulimits,omitzero"`
	CPUCount             int64                 `json:"CpuCount,omitzero"`
	CPUPercent           int64                 `json:"CpuPercent,omitzero"`
	IOMaximumIOps        uint64                `json:"IOMaximumIOps,omitzero"`
	IOMaximumBandwidth   uint64                `json:"IOMaximumBandwidth,omitzero"`
}

type storedWeight struct {
	Path   string `json:"Path,omitzero"`
	Weight uint16 `json:"Weight,omitzero"`
}

type storedThrottle struct {
	Path string `json:"Path,omitzero"`
	Rate uint64 `json:"Rate,omitzero"`
}

type storedDevice struct {
	PathOnHost        string `json:"PathOnHost,omitzero"`
	PathInContainer   string `json:"PathInContainer,omitzero"`
	CgroupPermissions string `json:"CgroupPermissions,omitzero"`
}

type storedDeviceRequest struct {
	Driver       string            `json:"Driver,omitzero"`
	Count        int               `json:"Count,omitzero"`
	DeviceIDs    []string          `json:"DeviceIDs,omitzero"`
	Capabilities [][]string        `json:"Capabilities,omitzero"`
	Options      map[string]string `json:"Options,omitzero"`
}

type storedUlimit struct {
	Name string `json:"Name,omitzero"`
	Hard int64  `json:"Hard,omitzero"`
	Soft int64  `json:"Soft,omitzero"`
}

func toResources(r container.Resources) storedResources {
	return storedResources{
		CPUShares: r.CPUShares, Memory: r.Memory, NanoCPUs: r.NanoCPUs, CgroupParent: r.CgroupParent,
		BlkioWeight: r.BlkioWeight, BlkioWeightDevice: each(r.BlkioWeightDevice, toWeight),
		BlkioDeviceReadBps: each(r.BlkioDeviceReadBps, toThrottle), BlkioDeviceWriteBps: each(r.BlkioDeviceWriteBps, toThrottle),
		BlkioDeviceReadIOps: each(r.BlkioDeviceReadIOps, toThrottle), BlkioDeviceWriteIOps: each(r.BlkioDeviceWriteIOps, toThrottle),
		CPUPeriod: r.CPUPeriod, CPUQuota: r.CPUQuota, CPURealtimePeriod: r.CPURealtimePeriod, CPURealtimeRuntime: r.CPURealtimeRuntime,
		CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems,
		Devices: each(r.Devices, toDevice), DeviceCgroupRules: r.DeviceCgroupRules, DeviceRequests: each(r.DeviceRequests, toDeviceRequest),
		MemoryReservation: r.MemoryReservation, MemorySwap: r.MemorySwap, MemorySwappiness: r.MemorySwappiness,
		OomKillDisable: r.OomKillDisable, PidsLimit: r.PidsLimit, Ulimits: each(r.Ulimits, toUlimit),
		CPUCount: r.CPUCount, CPUPercent: r.CPUPercent, IOMaximumIOps: r.IOMaximumIOps, IOMaximumBandwidth: r.IOMaximumBandwidth,
	}
}

func (s storedResources) docker() container.Resources {
	return container.Resources{
		CPUShares: s.CPUShares, Memory: s.Memory, NanoCPUs: s.NanoCPUs, CgroupParent: s.CgroupParent,
		BlkioWeight: s.BlkioWeight, BlkioWeightDevice: each(s.BlkioWeightDevice, (*storedWeight).docker),
		BlkioDeviceReadBps:   each(s.BlkioDeviceReadBps, (*storedThrottle).docker),
		BlkioDeviceWriteBps:  each(s.BlkioDeviceWriteBps, (*storedThrottle).docker),
		BlkioDeviceReadIOps:  each(s.BlkioDeviceReadIOps, (*storedThrottle).docker),
		BlkioDeviceWriteIOps: each(s.BlkioDeviceWriteIOps, (*storedThrottle).docker),
		CPUPeriod:            s.CPUPeriod, CPUQuota: s.CPUQuota, CPURealtimePeriod: s.CPURealtimePeriod, CPURealtimeRuntime: s.CPURealtimeRuntime,
		CpusetCpus: s.CpusetCpus, CpusetMems: s.CpusetMems,
		Devices: each(s.Devices, storedDevice.docker), DeviceCgroupRules: s.DeviceCgroupRules, DeviceRequests: each(s.DeviceRequests, storedDeviceRequest.docker),
		MemoryReservation: s.MemoryReservation, MemorySwap: s.MemorySwap, MemorySwappiness: s.MemorySwappiness,
		OomKillDisable: s.OomKillDisable, PidsLimit: s.PidsLimit, Ulimits: each(s.Ulimits, (*storedUlimit).docker),
		CPUCount: s.CPUCount, CPUPercent: s.CPUPercent, IOMaximumIOps: s.IOMaximumIOps, IOMaximumBandwidth: s.IOMaximumBandwidth,
	}
}

func toWeight(d *blkiodev.WeightDevice) *storedWeight {
	return ref(d, func(d blkiodev.WeightDevice) storedWeight { return storedWeight{d.Path, d.Weight} })
}

func (s *storedWeight) docker() *blkiodev.WeightDevice {
	return ref(s, func(s storedWeight) blkiodev.WeightDevice {
		return blkiodev.WeightDevice{Path: s.Path, Weight: s.Weight}
	})
}

func toThrottle(d *blkiodev.ThrottleDevice) *storedThrottle {
	return ref(d, func(d blkiodev.ThrottleDevice) storedThrottle { return storedThrottle{d.Path, d.Rate} })
}

func (s *storedThrottle) docker() *blkiodev.ThrottleDevice {
	return ref(s, func(s storedThrottle) blkiodev.ThrottleDevice {
		return blkiodev.ThrottleDevice{Path: s.Path, Rate: s.Rate}
	})
}

func toDevice(d container.DeviceMapping) storedDevice {
	return storedDevice{d.PathOnHost, d.PathInContainer, d.CgroupPermissions}
}

func (s storedDevice) docker() container.DeviceMapping {
	return container.DeviceMapping{PathOnHost: s.PathOnHost, PathInContainer: s.PathInContainer, CgroupPermissions: s.CgroupPermissions}
}

func toDeviceRequest(d container.DeviceRequest) storedDeviceRequest {
	return storedDeviceRequest{d.Driver, d.Count, d.DeviceIDs, d.Capabilities, d.Options}
}

func (s storedDeviceRequest) docker() container.DeviceRequest {
	return container.DeviceRequest{
		Driver: s.Driver, Count: s.Count, DeviceIDs: s.DeviceIDs, Capabilities: s.Capabilities, Options: s.Options,
	}
}

func toUlimit(u *container.Ulimit) *storedUlimit {
	return ref(u, func(u container.Ulimit) storedUlimit { return storedUlimit{u.Name, u.Hard, u.Soft} })
}

func (s *storedUlimit) docker() *container.Ulimit {
	return ref(s, func(s storedUlimit) container.Ulimit {
		return container.Ulimit{Name: s.Name, Hard: s.Hard, Soft: s.Soft}
	})
}
