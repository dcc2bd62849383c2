package containerrecord

import (
	"io/fs"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/linkspan/linkspan/internal/containerspec"
)

// storedPoint is a containerspec.MountPoint as it is stored.
type storedPoint struct {
	Type        mount.Type        `json:"Type,omitzero"`
	Name        string            `json:"Name,omitzero"`
	Source      string            `json:"Source,omitzero"`
	Destination string            `json:"Destination,omitzero"`
	Driver      string            `json:"Driver,omitzero"`
	Mode        string            `json:"Mode,omitzero"`
	RW          bool              `json:"RW,omitzero"`
	Propagation mount.Propagation `json:"Propagation,omitzero"`
	Options     []string          `json:"Options,omitzero"`
	Anonymous   bool              `json:"Anonymous,omitzero"`
	CopyUp      bool              `json:"CopyUp,omitzero"`
	Unlisted    bool              `json:"Unlisted,omitzero"`
	Subpath     string            `json:"Subpath,omitzero"`

	NonRecursive           bool `json:"NonRecursive,omitzero"`
	ReadOnlyNonRecursive   bool `json:"ReadOnlyNonRecursive,omitzero"`
	ReadOnlyForceRecursive bool `json:"ReadOnlyForceRecursive,omitzero"`
}

// storedMount is a mount.Mount, of HostConfig, as it is stored.
type storedMount struct {
	Type           mount.Type           `json:"Type,omitzero"`
	Source         string               `json:"Source,omitzero"`
	Target         string               `json:"Target,omitzero"`
	ReadOnly       bool                 `json:"ReadOnly,omitzero"`
	Consistency    mount.Consistency    `json:"Consistency,omitzero"`
	BindOptions    *storedBindOptions   `json:"BindOptions,omitzero"`
	VolumeOptions  *storedVolumeOptions `json:"VolumeOptions,omitzero"`
	ImageOptions   *storedImageOptions  `json:"ImageOptions,omitzero"`
	TmpfsOptions   *storedTmpfsOptions  `json:"TmpfsOptions,omitzero"`
	ClusterOptions *struct{}            `json:"ClusterOptions,omitzero"`
}

type storedBindOptions struct {
	Propagation            mount.Propagation `json:"Propagation,omitzero"`
	NonRecursive           bool              `json:"NonRecursive,omitzero"`
	CreateMountpoint       bool              `json:"CreateMountpoint,omitzero"`
	ReadOnlyNonRecursive   bool              `json:"ReadOnlyNonRecursive,omitzero"`
	ReadOnlyForceRecursive bool              `json:"ReadOnlyForceRecursive,omitzero"`
}

type storedVolumeOptions struct {
	NoCopy       bool                `json:"NoCopy,omitzero"`
	Labels       map[string]string   `json:"Labels,omitzero"`
	Subpath      string              `json:"Subpath,omitzero"`
	DriverConfig *storedVolumeDriver `json:"DriverConfig,omitzero"`
}

type storedVolumeDriver struct {
	Name    string            `json:"Name,omitzero"`
	Options map[string]string `json:"Options,omitzero"`
}

type storedImageOptions struct {
	Subpath string `json:"Subpath,omitzero"`
}

type storedTmpfsOptions struct {
	SizeBytes int64      `json:"SizeBytes,omitzero"`
	Mode      uint32     `json:"Mode,omitzero"` // as Go writes it
	Options   [][]string `json:"Options,omitzero"`
}

func toPoint(p containerspec.MountPoint) storedPoint {
	return storedPoint{
		Type: p.Type, Name: p.Name, Source: p.Source, Destination: p.Destination, Driver: p.Driver, Mode: p.Mode, RW: p.RW, Propagation: p.Propagation,
		Options: p.Options, Anonymous: p.Anonymous, CopyUp: p.CopyUp, Unlisted: p.Unlisted, Subpath: p.Subpath,
		NonRecursive: p.NonRecursive, ReadOnlyNonRecursive: p.ReadOnlyNonRecursive, ReadOnlyForceRecursive: p.ReadOnlyForceRecursive,
	}
}

func (s storedPoint) point() containerspec.MountPoint {
	return containerspec.MountPoint{
		MountPoint: container.MountPoint{
			Type: s.Type, Name: s.Name, Source: s.Source, Destination: s.Destination, Driver: s.Driver, Mode: s.Mode, RW: s.RW, Propagation: s.Propagation,
		},
		Options: s.Options, Anonymous: s.Anonymous, CopyUp: s.CopyUp, Unlisted: s.Unlisted, Subpath: s.Subpath,
		NonRecursive: s.NonRecursive, ReadOnlyNonRecursive: s.ReadOnlyNonRecursive, ReadOnlyForceRecursive: s.ReadOnlyForceRecursive,
	}
}

func toMount(m mount.Mount) storedMount {
	return storedMount{
		Type: m.Type, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly, Consistency: m.Consistency,
		BindOptions: ref(m.BindOptions, func(o mount.BindOptions) storedBindOptions {
			return storedBindOptions{o.Propagation, o.NonRecursive, o.CreateMountpoint, o.ReadOnlyNonRecursive, o.ReadOnlyForceRecursive}
		}),
		VolumeOptions: ref(m.VolumeOptions, func(o mount.VolumeOptions) storedVolumeOptions {
			return storedVolumeOptions{o.NoCopy, o.Labels, o.Subpath, ref(o.DriverConfig, func(d mount.Driver) storedVolumeDriver {
				return storedVolumeDriver{d.Name, d.Options}
			})}
		}),
		ImageOptions: ref(m.ImageOptions, func(o mount.ImageOptions) storedImageOptions { return storedImageOptions{o.Subpath} }),
		TmpfsOptions: ref(m.TmpfsOptions, func(o mount.TmpfsOptions) storedTmpfsOptions {
			return storedTmpfsOptions{o.SizeBytes, uint32(o.Mode), o.Options}
		}),
		ClusterOptions: ref(m.ClusterOptions, func(mount.ClusterOptions) struct{} { return struct{}{} }),
	}
}

func (s storedMount) docker() mount.Mount {
	return mount.Mount{
		Type: s.Type, Source: s.Source, Target: s.Target, ReadOnly: s.ReadOnly, Consistency: s.Consistency,
		BindOptions: ref(s.BindOptions, func(o storedBindOptions) mount.BindOptions {
			return mount.BindOptions{
				Propagation: o.Propagation, NonRecursive: o.NonRecursive, CreateMountpoint: o.CreateMountpoint,
				ReadOnlyNonRecursive: o.ReadOnlyNonRecursive, ReadOnlyForceRecursive: o.ReadOnlyForceRecursive,
			}
		}),
		VolumeOptions: ref(s.VolumeOptions, func(o storedVolumeOptions) mount.VolumeOptions {
			return mount.VolumeOptions{
				NoCopy: o.NoCopy, Labels: o.Labels, Subpath: o.Subpath,
				DriverConfig: ref(o.DriverConfig, func(d storedVolumeDriver) mount.Driver { return mount.Driver{Name: d.Name, Options: d.Options} }),
			}
		}),
		ImageOptions: ref(s.ImageOptions, func(o storedImageOptions) mount.ImageOptions { return mount.ImageOptions{Subpath: o.Subpath} }),
		TmpfsOptions: ref(s.TmpfsOptions, func(o storedTmpfsOptions) mount.TmpfsOptions {
			return mount.TmpfsOptions{SizeBytes: o.SizeBytes, Mode: fs.FileMode(o.Mode), Options: o.Options}
		}),
		ClusterOptions: ref(s.ClusterOptions, func(struct{}) mount.ClusterOptions { return mount.ClusterOptions{} }),
	}
}
