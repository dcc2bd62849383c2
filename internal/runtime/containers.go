package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/imagestore"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
	"github.com/linkspan/linkspan/internal/runtime/snapshots"
)

const (
	labelImage    = "linkspan/image"    // on a container: the ID of its image
	labelInstance = "linkspan/instance" // on a container: the engine that made it
	labelDraft    = "linkspan/draft"    // on a container: it has files, and no specification yet

	ociRuntime = "io.containerd.runc.v2"
)

// Containers makes and removes containers: a file system and a specification, and what is
// told of them. Its methods may be called from any goroutine.
type Containers struct {
	client    *containerd.Client
	instance  string
	host      ocispec.Host
	images    *imagestore.Store
	snapshots *snapshots.Store
	specs     storedSpecs
	processes *processes
	tasks     *Tasks
}

// Create makes a container from a stored image: its writable snapshot and its
// record. Nothing runs yet. Errors: NotFound for the image, Invalid for what
// cannot be done, Conflict if the ID is taken.
func (c *Containers) Create(ctx context.Context, spec model.ContainerSpec) error {
	ctx, cancel := c.client.Call(ctx)
	defer cancel()
	image, err := c.imageOf(ctx, spec)
	if err != nil {
		return err
	}
	rootfs, err := c.snapshots.Prepare(ctx, spec.ID, image)
	if model.KindOf(err) == model.Conflict {
		return c.finishDraft(ctx, spec, err)
	}
	if err == nil {
		err = c.createRecord(ctx, spec, rootfs)
	}
	if err != nil { // the parts may have been made even so: an answer can be lost
		return errors.Join(startError(err), c.Delete(context.WithoutCancel(ctx), spec.ID))
	}
	return nil
}

// imageOf returns the image that a container is made of; one that cannot be read is Unavailable.
func (c *Containers) imageOf(ctx context.Context, spec model.ContainerSpec) (imagestore.Fact, error) {
	image, err := c.images.ByID(ctx, spec.Image)
	if err == nil && image.Image.Damaged != "" {
		err = model.Errorf(model.Unavailable, "image %s cannot be read: %s", spec.Image, image.Image.Damaged)
	}
	return image, err
}

func (c *Containers) createRecord(ctx context.Context, spec model.ContainerSpec, rootfs []mount.Mount) error {
	packed, err := c.specify(ctx, spec, rootfs)
	if err != nil {
		return err
	}
	rec, err := c.record(spec, packed)
	if err != nil {
		return err
	}
	_, err = c.client.ContainerService().Create(ctx, rec)
	return containerd.Faultf("create", containerd.Describe(spec.ID), "create container", err)
}

// specify looks into a container's file system and writes its specification.
func (c *Containers) specify(ctx context.Context, spec model.ContainerSpec, rootfs []mount.Mount) (typeurl.Any, error) {
	var who specs.User
	var unresolved error // kept apart: the mount's helper would put words of its own before Docker's
	err := mount.WithReadonlyTempMount(ctx, rootfs, func(root string) error {
		if who, unresolved = ocispec.ResolveUser(root, spec.Process.User, spec.Process.ExtraGroups); unresolved == nil {
			unresolved = c.snapshots.FillVolumes(root, spec.Mounts)
		}
		return nil
	})
	if err = errors.Join(unresolved, err); err != nil {
		return nil, containerd.Fault("create", containerd.Describe(spec.ID), err)
	}
	oci, err := ocispec.Build(spec, who, c.host)
	if err != nil {
		return nil, err
	}
	packed, err := typeurl.MarshalAny(oci)
	if err != nil {
		return nil, fmt.Errorf("pack specification: %w", err)
	}
	return packed, nil
}

// record returns a container as containerd keeps it.
func (c *Containers) record(spec model.ContainerSpec, packed typeurl.Any) (containers.Container, error) {
	rt := containers.RuntimeInfo{Name: cmp.Or(spec.Runtime.Shim, ociRuntime)}
	if spec.Runtime.Program != "" {
		var err error
		if rt.Options, err = typeurl.MarshalAny(&options.Options{BinaryName: spec.Runtime.Program}); err != nil {
			return containers.Container{}, fmt.Errorf("pack the runtime's options: %w", err)
		}
	}
	return containers.Container{
		ID:          string(spec.ID),
		Labels:      map[string]string{labelImage: string(spec.Image), labelInstance: c.instance},
		Image:       string(spec.Image),
		Runtime:     rt,
		Spec:        packed,
		Snapshotter: c.client.Snapshotter,
		SnapshotKey: string(spec.ID),
	}, nil
}

// Delete removes a container that has no process: its record, snapshot and
// FIFOs. What is gone already is no error.
func (c *Containers) Delete(ctx context.Context, id model.ContainerID) error {
	ctx, cancel := c.client.Call(ctx)
	defer cancel()
	release, err := c.tasks.locks.take(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	if err := c.deleteRemains(ctx, id); err != nil {
		return err
	}
	c.tasks.forget(id)
	if err := c.client.ContainerService().Delete(ctx, string(id)); err != nil && !containerd.IsNotFound(err) {
		return containerd.Fault("delete", containerd.Describe(id), err)
	}
	if err := c.snapshots.Remove(ctx, string(id)); err != nil {
		return err
	}
	return c.tasks.removeStreams(id)
}

// deleteRemains removes what a start that was cut short has left of a container
// without a process. It must be done as long as containerd has the container: where
// the cgroups are is known from its specification.
func (c *Containers) deleteRemains(ctx context.Context, id model.ContainerID) error {
	if bundle, _ := c.client.Bundle(id); bundle == "" || exists(bundle) {
		if err := c.tasks.removeStale(ctx, id); err != nil {
			return err
		}
	} else if err := c.tasks.stale.clearSocket(id); err != nil {
		return err
	}
	_, s, err := c.specs.load(ctx, id)
	if err != nil {
		if model.KindOf(err) == model.NotFound {
			return nil
		}
		return err
	}
	return c.tasks.stale.removeCgroups(ctx, s)
}

// isOf tells whether a container with these labels is the instance's. Releases before
// the label did not say whose it is.
func isOf(instance string, labels map[string]string) bool {
	made := labels[labelInstance]
	return made == "" || made == instance
}

// List returns all our containers with the state of their processes.
func (c *Containers) List(ctx context.Context) ([]model.TaskStatus, error) {
	ctx, cancel := c.client.Call(ctx)
	defer cancel()
	have, err := c.client.ContainerService().List(ctx)
	if err != nil {
		return nil, containerd.Fault("list", "", err)
	}
	running, err := c.client.Tasks().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, containerd.Fault("list", "", err)
	}
	byID, err := c.processes.allKnown(ctx, running.Tasks)
	if err != nil {
		return nil, containerd.Fault("list", "", err)
	}
	out := make([]model.TaskStatus, 0, len(have))
	for _, rec := range have {
		if !isOf(c.instance, rec.Labels) {
			continue
		}
		one := model.TaskStatus{ID: model.ContainerID(rec.ID), State: model.TaskNone}
		if t := byID[rec.ID]; t != nil {
			one = c.processes.status(ctx, one.ID, t)
		}
		one.Draft = isDraft(rec)
		out = append(out, one)
	}
	return out, nil
}

// Check refuses what no container could be made of, as far as the specification alone
// tells. Create would refuse the same, but only once the container starts.
func (c *Containers) Check(spec model.ContainerSpec) error { return c.host.Check(spec) }

// SystemPaths returns what is masked and what is read-only in a container that is not
// told otherwise.
func (c *Containers) SystemPaths() (masked, readonly []string) { return c.host.SystemPaths() }

// Status returns the state of one container; NotFound if there is none.
func (c *Containers) Status(ctx context.Context, id model.ContainerID) (model.TaskStatus, error) {
	return c.processes.Status(ctx, id)
}

// Update changes the limits of a container, of its process if it has one and for
// its next start. Zero leaves a limit as it is.
func (c *Containers) Update(ctx context.Context, id model.ContainerID, res model.Resources) error {
	ctx, cancel := c.client.Call(ctx)
	defer cancel()
	record, s, err := c.specs.load(ctx, id)
	if err != nil {
		return err
	}
	var changed specs.LinuxResources
	if err := errors.Join(ocispec.ApplyLimits(&changed, res, c.host), ocispec.ApplyLimits(s.Linux.Resources, res, c.host)); err != nil {
		return err
	}
	if err := c.updateTask(ctx, id, &changed); err != nil {
		return err
	}
	return c.specs.save(ctx, record, s)
}

// Renew gives the next first process of a container the environment of spec.
func (c *Containers) Renew(ctx context.Context, spec model.ContainerSpec) error {
	ctx, cancel := c.client.Call(ctx)
	defer cancel()
	record, s, err := c.specs.load(ctx, spec.ID)
	if err != nil {
		return err
	}
	env := ocispec.Environment(spec.Hostname, spec.Process.TTY, spec.Process.Env)
	if slices.Equal(s.Process.Env, env) {
		return nil
	}
	s.Process.Env = env
	return c.specs.save(ctx, record, s)
}

func (c *Containers) updateTask(ctx context.Context, id model.ContainerID, changed *specs.LinuxResources) error {
	packed, err := typeurl.MarshalAnyToProto(changed)
	if err != nil {
		return fmt.Errorf("pack limits: %w", err)
	}
	_, err = c.client.Tasks().Update(ctx, &tasks.UpdateTaskRequest{ContainerID: string(id), Resources: packed})
	if containerd.IsNotFound(err) {
		return nil // it does not run
	}
	return containerd.Fault("update", containerd.Describe(id), err)
}

// LayerSizes returns the bytes on disk of a container's writable layer, which it counts
// file by file, and of its image. NotFound if the container is not made.
func (c *Containers) LayerSizes(ctx context.Context, id model.ContainerID) (written, image int64, err error) {
	ctx, cancel := c.client.Call(ctx)
	defer cancel()
	rec, err := c.client.ContainerService().Get(ctx, string(id))
	if err != nil {
		return 0, 0, containerd.Fault("size", containerd.Describe(id), err)
	}
	own, err := c.client.Snapshots().Usage(ctx, rec.SnapshotKey)
	if err != nil {
		return 0, 0, containerd.Fault("size", containerd.Describe(id), err)
	}
	fact, err := c.images.ByID(ctx, model.ImageID(rec.Image))
	if err != nil {
		return own.Size, 0, nil //nolint:nilerr // the image may be gone, by force
	}
	return own.Size, fact.Image.Size, nil
}
