package containerrecord

import (
	"net/netip"

	"github.com/moby/moby/api/types/container"
)

// storedHost is container.HostConfig as it is stored.
type storedHost struct {
	Binds           []string               `json:"Binds,omitzero"`
	ContainerIDFile string                 `json:"ContainerIDFile,omitzero"`
	LogConfig       storedLogConfig        `json:"LogConfig,omitzero"`
	NetworkMode     container.NetworkMode  `json:"NetworkMode,omitzero"`
	PortBindings    portMap                `json:"PortBindings,omitzero"` // read only, as storedConfig.ExposedPorts
	RestartPolicy   storedRestart          `json:"RestartPolicy,omitzero"`
	AutoRemove      bool                   `json:"AutoRemove,omitzero"`
	VolumeDriver    string                 `json:"VolumeDriver,omitzero"`
	VolumesFrom     []string               `json:"VolumesFrom,omitzero"`
	ConsoleSize     [2]uint                `json:"ConsoleSize,omitzero"` // height, width
	Annotations     map[string]string      `json:"Annotations,omitzero"`
	CapAdd          []string               `json:"CapAdd,omitzero"`
	CapDrop         []string               `json:"CapDrop,omitzero"`
	CgroupnsMode    container.CgroupnsMode `json:"CgroupnsMode,omitzero"`
	DNS             []netip.Addr           `json:"Dns,omitzero"`
	DNSOptions      []string               `json:"DnsOptions,omitzero"`
	DNSSearch       []string               `json:"DnsSearch,omitzero"`
	ExtraHosts      []string               `json:"ExtraHosts,omitzero"`
	GroupAdd        []string               `json:"GroupAdd,omitzero"`
	IpcMode         container.IpcMode      `json:"IpcMode,omitzero"`
	Cgroup          container.CgroupSpec   `json:"Cgroup,omitzero"`
	Links           []string               `json:"Links,omitzero"`
	OomScoreAdj     int                    `json:"OomScoreAdj,omitzero"`
	PidMode         container.PidMode      `json:"PidMode,omitzero"`
	Privileged      bool                   `json:"Privileged,omitzero"`
	PublishAllPorts bool                   `json:"PublishAllPorts,omitzero"`
	ReadonlyRootfs  bool                   `json:"ReadonlyRootfs,omitzero"`
	SecurityOpt     []string               `json:"SecurityOpt,omitzero"`
	StorageOpt      map[string]string      `json:"StorageOpt,omitzero"`
	Tmpfs           map[string]string      `json:"Tmpfs,omitzero"`
	UTSMode         container.UTSMode      `json:"UTSMode,omitzero"`
	UsernsMode      container.UsernsMode   `json:"UsernsMode,omitzero"`
	ShmSize         int64                  `json:"ShmSize,omitzero"` // bytes
	Sysctls         map[string]string      `json:"Sysctls,omitzero"`
	Runtime         string                 `json:"Runtime,omitzero"`
	Umask           *uint32                `json:"Umask,omitzero"`
	Isolation       container.Isolation    `json:"Isolation,omitzero"`
	Mounts          []storedMount          `json:"Mounts,omitzero"`
	MaskedPaths     []string               `json:"MaskedPaths,omitzero"`
	ReadonlyPaths   []string               `json:"ReadonlyPaths,omitzero"`
	Init            *bool                  `json:"Init,omitzero"`
	storedResources                        // its fields are among these
}

type storedLogConfig struct {
	Type   string            `json:"Type,omitzero"`
	Config map[string]string `json:"Config,omitzero"`
}

type storedRestart struct {
	Name              container.RestartPolicyMode `json:"Name,omitzero"`
	MaximumRetryCount int                         `json:"MaximumRetryCount,omitzero"`
}

func toHost(h *container.HostConfig) *storedHost {
	return ref(h, func(h container.HostConfig) storedHost {
		return storedHost{
			Binds: h.Binds, ContainerIDFile: h.ContainerIDFile, LogConfig: storedLogConfig{h.LogConfig.Type, h.LogConfig.Config},
			NetworkMode:   h.NetworkMode,
			RestartPolicy: storedRestart{h.RestartPolicy.Name, h.RestartPolicy.MaximumRetryCount},
			AutoRemove:    h.AutoRemove, VolumeDriver: h.VolumeDriver, VolumesFrom: h.VolumesFrom, ConsoleSize: h.ConsoleSize,
			Annotations: h.Annotations, CapAdd: h.CapAdd, CapDrop: h.CapDrop, CgroupnsMode: h.CgroupnsMode,
			DNS: h.DNS, DNSOptions: h.DNSOptions, DNSSearch: h.DNSSearch, ExtraHosts: h.ExtraHosts, GroupAdd: h.GroupAdd,
			IpcMode: h.IpcMode, Cgroup: h.Cgroup, Links: h.Links, OomScoreAdj: h.OomScoreAdj, PidMode: h.PidMode,
			Privileged: h.Privileged, PublishAllPorts: h.PublishAllPorts, ReadonlyRootfs: h.ReadonlyRootfs,
			SecurityOpt: h.SecurityOpt, StorageOpt: h.StorageOpt, Tmpfs: h.Tmpfs, UTSMode: h.UTSMode, UsernsMode: h.UsernsMode,
			ShmSize: h.ShmSize, Sysctls: h.Sysctls, Runtime: h.Runtime, Umask: h.Umask, Isolation: h.Isolation,
			storedResources: toResources(h.Resources), Mounts: each(h.Mounts, toMount),
			MaskedPaths: h.MaskedPaths, ReadonlyPaths: h.ReadonlyPaths, Init: h.Init,
		}
	})
}

// docker is the way back, without the ports.
func (s *storedHost) docker() *container.HostConfig {
	return ref(s, func(s storedHost) container.HostConfig {
		return container.HostConfig{
			Binds: s.Binds, ContainerIDFile: s.ContainerIDFile, LogConfig: container.LogConfig{Type: s.LogConfig.Type, Config: s.LogConfig.Config},
			NetworkMode:   s.NetworkMode,
			RestartPolicy: container.RestartPolicy{Name: s.RestartPolicy.Name, MaximumRetryCount: s.RestartPolicy.MaximumRetryCount},
			AutoRemove:    s.AutoRemove, VolumeDriver: s.VolumeDriver, VolumesFrom: s.VolumesFrom, ConsoleSize: s.ConsoleSize,
			Annotations: s.Annotations, CapAdd: s.CapAdd, CapDrop: s.CapDrop, CgroupnsMode: s.CgroupnsMode,
			DNS: s.DNS, DNSOptions: s.DNSOptions, DNSSearch: s.DNSSearch, ExtraHosts: s.ExtraHosts, GroupAdd: s.GroupAdd,
			IpcMode: s.IpcMode, Cgroup: s.Cgroup, Links: s.Links, OomScoreAdj: s.OomScoreAdj, PidMode: s.PidMode,
			Privileged: s.Privileged, PublishAllPorts: s.PublishAllPorts, ReadonlyRootfs: s.ReadonlyRootfs,
			SecurityOpt: s.SecurityOpt, StorageOpt: s.StorageOpt, Tmpfs: s.Tmpfs, UTSMode: s.UTSMode, UsernsMode: s.UsernsMode,
			ShmSize: s.ShmSize, Sysctls: s.Sysctls, Runtime: s.Runtime, Umask: s.Umask, Isolation: s.Isolation,
			Resources: s.storedResources.docker(), Mounts: each(s.Mounts, storedMount.docker),
			MaskedPaths: s.MaskedPaths, ReadonlyPaths: s.ReadonlyPaths, Init: s.Init,
		}
	})
}
