package containers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containers/logger"
	"github.com/linkspan/linkspan/internal/containers/machine"
	"github.com/linkspan/linkspan/internal/containers/mounts"
	"github.com/linkspan/linkspan/internal/containers/naming"
	"github.com/linkspan/linkspan/internal/containers/netfiles"
	"github.com/linkspan/linkspan/internal/containers/records"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// creator makes containers.
type creator struct {
	*registry
	*announcer
	engine      Engine
	drivers     driver.Set
	runtime     Containers
	images      Images
	confinement Confinement // nil leaves the runtime's confinement untold
	defaults    *Defaults
	specs       *specs
	files       *netfiles.Files
	outputs     *outputs
	records     records.Records
	volumes     Volumes
	dirs        containerfiles.Dirs
}

// Create makes a container that does not run yet and returns its ID. Errors:
// Invalid for what cannot be, NotFound for the image, Conflict for the name.
func (cr *creator) Create(ctx context.Context, r CreateRequest) (id string, remarks []string, err error) {
	if r, err = cr.complete(r); err != nil {
		return "", nil, err
	}
	on := machine.This()
	if err := containerspec.Validate(r, on); err != nil {
		return "", nil, err
	}
	if _, err := cr.defaults.Changing().Runtimes.Find(r.Host.Runtime); err != nil {
		return "", nil, err
	}
	discarded := containerspec.Possible(&r.Host.Resources, on)
	image, err := cr.images.Find(ctx, r.Config.Image)
	if err != nil {
		return "", nil, err
	}
	if image.Damaged != "" {
		return "", nil, &model.Error{Op: "container.create", Subject: r.Config.Image, Kind: model.Conflict,
			Err: fmt.Errorf("image %s cannot be read: %s", r.Config.Image, image.Damaged),
			Way: "remove it with docker rmi, and load it again"}
	}
	said, err := containerspec.FromImage(image.Config)
	if err != nil {
		return "", nil, err
	}
	if err := containerspec.Merge(r.Config, said); err != nil {
		return "", nil, err
	}
	rec := record{ID: model.ContainerID(ids.New()), Created: time.Now().UTC(), Image: image.ID, Config: r.Config, Host: r.Host}
	if r.Task != nil {
		rec.Managed, rec.Mounts = true, r.Task.Files
	}
	// A client that goes away leaves the container behind, as with Docker, not half of
	// one.
	b, err := cr.buildNamed(context.WithoutCancel(ctx), rec, r)
	if err != nil {
		return "", nil, err
	}
	remarks = driver.PublishRemarks(cr.engine.Snapshot(), cr.drivers, b.rec.Sandbox)
	cr.mu.Lock()
	cr.entries[b.id] = b
	cr.mu.Unlock()
	cr.say(b, events.ActionCreate)
	return string(b.id), append(append(discarded, containerspec.Warnings(r, on)...), remarks...), nil
}

// buildNamed gives a container its name and makes it. A name that was drawn and that
// somebody else has got meanwhile is drawn again.
func (cr *creator) buildNamed(ctx context.Context, rec record, r CreateRequest) (*entry, error) {
	for {
		var err error
		if rec.Name, err = naming.Choose(cr.engine.Snapshot(), r.Name, rec.ID); err != nil {
			return nil, err
		}
		b, err := cr.build(ctx, rec, r)
		if err == nil || r.Name != "" || ops.NameTaken(cr.engine.Snapshot(), rec.Name, rec.ID) == nil {
			return b, err
		}
	}
}

// build makes everything of a container outside memory; on failure nothing of it
// stays. Record and sandbox come last: files without a record are swept by Restore.
func (cr *creator) build(ctx context.Context, rec record, r CreateRequest) (*entry, error) {
	if err := cr.fillHost(&rec); err != nil {
		return nil, err
	}
	_, _, err := logger.Of(rec.plain(), cr.dirs.Log(rec.ID))
	if err != nil {
		return nil, err
	}
	if rec.Links, err = cr.findLinks(rec); err != nil {
		return nil, err
	}
	undo := func(cause error) error {
		return errors.Join(cause, cr.dirs.Remove(rec.ID), mounts.Release(ctx, cr.volumes, rec.plain(), true))
	}
	if err := cr.dirs.Make(rec.ID); err != nil {
		return nil, undo(err)
	}
	wanted := mounts.Resolver{Volumes: cr.volumes, ID: rec.ID, Image: cr.images.Find, Inherited: func() ([]mountPoint, error) { return cr.inheritedPoints(rec) }}
	resolved, err := wanted.Resolve(ctx, rec.Config, rec.Host)
	if rec.Mounts = append(resolved, rec.Mounts...); err != nil {
		return nil, undo(err)
	}
	if err := cr.runtime.Check(cr.specs.spec(rec, netns{}, cr.dirs.Files(rec.ID))); err != nil {
		return nil, undo(err)
	}
	draft, err := cr.fill(ctx, rec)
	if err != nil {
		return nil, undo(err)
	}
	if !rec.mode().IsContainer() {
		rec.Sandbox = model.SandboxID(ids.New())
	}
	if err := cr.enter(ctx, rec, r); err != nil {
		if draft {
			err = errors.Join(err, cr.runtime.Delete(ctx, rec.ID))
		}
		return nil, undo(err)
	}
	b := newEntry(rec)
	b.draft = draft
	return b, nil
}

// enter makes a container part of the state: its record, and its sandbox if it has
// one of its own.
func (cr *creator) enter(ctx context.Context, rec record, r CreateRequest) (err error) {
	if rec.Sandbox == "" {
		return cr.records.Create(ctx, rec.plain())
	}
	sb := cr.sandbox(rec)
	if sb.Mode == model.SandboxOwn {
		if sb.Publish, err = containerspec.Publications(rec.Config, rec.Host); err != nil {
			return err
		}
	}
	return cr.records.Create(ctx, rec.plain(), ops.CreateSandbox(sb, cr.endpointSpecs(rec, r)))
}

// sandbox returns the network life of a container.
func (cr *creator) sandbox(rec record) model.Sandbox {
	sb := model.Sandbox{
		ID: rec.Sandbox, Container: rec.ID, Name: rec.Name, Mode: model.SandboxOwn,
		Hostname: rec.Config.Hostname, Domainname: rec.Config.Domainname,
		DNS: cr.files.Resolving(rec.plain()), Links: cr.opening(rec.Links), NoIPv6: containerspec.NoIPv6(rec.Host.Sysctls),
		NetAdmin: containerspec.NetAdmin(rec.Host),
	}
	if rec.mode().IsHost() {
		sb.Mode = model.SandboxHost
	}
	return sb
}

// complete fills in what the client left out, and names other containers by their IDs.
func (cr *creator) complete(r CreateRequest) (CreateRequest, error) {
	d, now := cr.defaults, cr.defaults.Changing()
	standard := containerspec.Defaults{LogDriver: d.LogDriver, LogOptions: d.LogOptions, ShmSize: now.ShmSize, Runtimes: now.Runtimes, Cgroup2: machine.Unified(), CgroupnsMode: now.CgroupnsMode}
	if cr.confinement != nil {
		standard.SystemPaths = cr.confinement.SystemPaths
	}
	r, err := containerspec.Complete(r, standard)
	if err != nil {
		return r, err
	}
	r.Host.NetworkMode = cr.byContainerID(r.Host.NetworkMode)
	cr.keepSharers(r.Host)
	return r, nil
}

// byContainerID names the container whose network is shared by its ID, so that it
// is found when it has another name. One that is not there keeps the name that it
// was given; the start will tell.
func (reg *registry) byContainerID(mode container.NetworkMode) container.NetworkMode {
	if ref := mode.ConnectedContainer(); ref != "" {
		if b, err := reg.find(ref); err == nil {
			return container.NetworkMode("container:" + string(b.id))
		}
	}
	return mode
}

// fillHost sets what depends on the container's own ID and on the host.
func (cr *creator) fillHost(r *record) error {
	switch mode := r.mode(); {
	case r.Config.Hostname != "" || mode.IsContainer(): // shared names are read at start
	case mode.IsHost() || r.Host.UTSMode.IsHost():
		name, err := machine.Hostname()
		if err != nil {
			return err
		}
		r.Config.Hostname = name
	default:
		r.Config.Hostname = model.Short(r.ID)
	}
	return nil
}
