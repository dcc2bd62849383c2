package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// isDraft tells whether a container was made by Draft and not finished by Create.
func isDraft(rec containers.Container) bool { return rec.Labels[labelDraft] != "" }

// Draft makes the file system of a container that is yet to be started, for somebody who
// puts files into it or looks at them: it may be that it cannot start now. Volumes get what
// the image has for them. Create makes the container of it, and keeps it if that fails. A
// draft that is there is success. Errors: as of Create.
func (c *Containers) Draft(ctx context.Context, spec model.ContainerSpec) error {
	ctx, cancel := c.client.Call(ctx)
	defer cancel()
	image, err := c.imageOf(ctx, spec)
	if err != nil {
		return err
	}
	rootfs, err := c.snapshots.Prepare(ctx, spec.ID, image)
	if model.KindOf(err) == model.Conflict {
		if rec, getErr := c.client.ContainerService().Get(ctx, string(spec.ID)); getErr == nil && isDraft(rec) {
			return nil
		}
		return err
	}
	if err == nil {
		err = c.createDraft(ctx, spec, rootfs)
	}
	if err != nil {
		return errors.Join(err, c.Delete(context.WithoutCancel(ctx), spec.ID))
	}
	return nil
}

func (c *Containers) createDraft(ctx context.Context, spec model.ContainerSpec, rootfs []mount.Mount) error {
	var full error
	err := mount.WithReadonlyTempMount(ctx, rootfs, func(root string) error {
		full = c.snapshots.FillVolumes(root, spec.Mounts)
		return nil
	})
	if err = errors.Join(full, err); err != nil {
		return containerd.Fault("create", containerd.Describe(spec.ID), err)
	}
	empty, err := typeurl.MarshalAny(&specs.Spec{Version: specs.Version})
	if err != nil {
		return fmt.Errorf("pack specification: %w", err)
	}
	rec, err := c.record(spec, empty)
	if err != nil {
		return err
	}
	rec.Labels[labelDraft] = "1"
	_, err = c.client.ContainerService().Create(ctx, rec)
	return containerd.Faultf("create", containerd.Describe(spec.ID), "create container", err)
}

// finishDraft is Create of a container whose file system is there. exists is the error if it
// is no draft's.
func (c *Containers) finishDraft(ctx context.Context, spec model.ContainerSpec, exists error) error {
	rec, err := c.client.ContainerService().Get(ctx, string(spec.ID))
	if err != nil || !isDraft(rec) {
		return exists
	}
	rootfs, err := c.snapshots.Mounts(ctx, spec.ID)
	if err != nil {
		return err
	}
	if rec.Spec, err = c.specify(ctx, spec, rootfs); err != nil {
		return startError(err)
	}
	rec.Labels[labelDraft] = ""
	_, err = c.client.ContainerService().Update(ctx, rec, "spec", "labels."+labelDraft)
	return containerd.Faultf("create", containerd.Describe(spec.ID), "create container", err)
}
