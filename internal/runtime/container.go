package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

const (
	labelImage    = "linkspan/image"    // on a container: the ID of its image
	labelInstance = "linkspan/instance" // on a container: the engine that made it

	// knownTimeout bounds the wait for a shim to say how its process is, and
	// allKnownTimeout that for all of a list.
	knownTimeout    = time.Minute
	allKnownTimeout = 5 * time.Second
)

// Create makes a container from a stored image: its writable snapshot and its
// record. Nothing runs yet. Errors: NotFound for the image, Invalid for what
// cannot be done, Conflict if the ID is taken.
func (r *Runtime) Create(ctx context.Context, spec model.ContainerSpec) error {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	image, err := r.Images.ByID(ctx, spec.Image)
	if err != nil {
		return err
	}
	if image.Image.Damaged != "" {
		return model.Errorf(model.Unavailable, "image %s cannot be read: %s", spec.Image, image.Image.Damaged)
	}
	rootfs, err := r.snapshots.Prepare(ctx, spec.ID, image)
	if model.KindOf(err) == model.Conflict {
		return err
	}
	if err == nil {
		err = r.createRecord(ctx, spec, rootfs)
	}
	if err != nil { // the parts may have been made even so: an answer can be lost
		return errors.Join(err, r.Delete(context.WithoutCancel(ctx), spec.ID))
	}
	return nil
}

func (r *Runtime) createRecord(ctx context.Context, spec model.ContainerSpec, rootfs []mount.Mount) error {
	var who specs.User
	var unresolved error // kept apart: the mount's helper would put words of its own before Docker's
	err := mount.WithReadonlyTempMount(ctx, rootfs, func(root string) error {
		if who, unresolved = ocispec.ResolveUser(root, spec.Process.User, spec.Process.ExtraGroups); unresolved == nil {
			unresolved = r.snapshots.FillVolumes(root, spec.Mounts)
		}
		return nil
	})
	if err = errors.Join(unresolved, err); err != nil {
		return containerd.Fault("create", containerd.Describe(spec.ID), err)
	}
	oci, err := ocispec.Build(spec, who, r.host)
	if err != nil {
		return err
	}
	packed, err := typeurl.MarshalAny(oci)
	if err != nil {
		return fmt.Errorf("pack specification: %w", err)
	}
	_, err = r.client.ContainerService().Create(ctx, containers.Container{
		ID:          string(spec.ID),
		Labels:      map[string]string{labelImage: string(spec.Image), labelInstance: r.opts.Instance},
		Image:       string(spec.Image),
		Runtime:     containers.RuntimeInfo{Name: ociRuntime},
		Spec:        packed,
		Snapshotter: r.client.Snapshotter,
		SnapshotKey: string(spec.ID),
	})
	return containerd.Faultf("create", containerd.Describe(spec.ID), "create container", err)
}

// Delete removes a container that has no process: its record, snapshot and
// FIFOs. What is gone already is no error.
func (r *Runtime) Delete(ctx context.Context, id model.ContainerID) error {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	release, err := r.claims.take(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	if err := r.deleteRemains(ctx, id); err != nil {
		return err
	}
	r.forgetAll(id)
	if err := r.client.ContainerService().Delete(ctx, string(id)); err != nil && !containerd.IsNotFound(err) {
		return containerd.Fault("delete", containerd.Describe(id), err)
	}
	if err := r.snapshots.Remove(ctx, string(id)); err != nil {
		return err
	}
	if err := os.RemoveAll(r.fifoDir(id)); err != nil {
		return fmt.Errorf("remove streams: %w", err)
	}
	return r.unshareMemory(id)
}

// deleteRemains removes what a start that was cut short has left of a container
// without a process. It must be done as long as containerd has the container: where
// the cgroups are is known from its specification.
func (r *Runtime) deleteRemains(ctx context.Context, id model.ContainerID) error {
	if bundle, _ := r.client.Bundle(id); bundle == "" || exists(bundle) {
		if err := r.clearTheWay(ctx, id); err != nil {
			return err
		}
	} else if err := r.clearSocket(id); err != nil {
		return err
	}
	_, s, err := r.loadSpec(ctx, id)
	if err != nil {
		if model.KindOf(err) == model.NotFound {
			return nil
		}
		return err
	}
	return r.removeCgroups(ctx, s)
}

// sweepUnowned removes writable layers and FIFOs whose container is not recorded: a
// crash between the steps of Create or of Delete leaves them.
func (r *Runtime) sweepUnowned(ctx context.Context) error {
	have, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return containerd.Faultf("open", "", "list containers", err)
	}
	layers, streams := make(map[string]bool, len(have)), make(map[string]bool, len(have))
	for _, c := range have {
		layers[c.SnapshotKey], streams[c.ID] = true, true
	}
	return errors.Join(r.snapshots.Sweep(ctx, layers), r.sweepStreams(streams), r.sweepMemory(streams))
}

// sweepStreams removes the FIFOs of all containers but the given ones.
func (r *Runtime) sweepStreams(owned map[string]bool) error {
	all := filepath.Join(r.opts.ExecRoot, "io")
	entries, err := os.ReadDir(all)
	if err != nil {
		return fmt.Errorf("list streams: %w", err)
	}
	var failed []error
	for _, e := range entries {
		if !owned[e.Name()] {
			r.unread.close(model.ContainerID(e.Name()))
			failed = append(failed, os.RemoveAll(filepath.Join(all, e.Name())))
		}
	}
	return errors.Join(failed...)
}

// isOf tells whether a container with these labels is the instance's. Releases before
// the label did not say whose it is.
func isOf(instance string, labels map[string]string) bool {
	made := labels[labelInstance]
	return made == "" || made == instance
}

// List returns all our containers with the state of their processes.
func (r *Runtime) List(ctx context.Context) ([]model.TaskStatus, error) {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	have, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return nil, containerd.Fault("list", "", err)
	}
	running, err := r.client.Tasks().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, containerd.Fault("list", "", err)
	}
	byID, err := r.allKnown(ctx, running.Tasks)
	if err != nil {
		return nil, containerd.Fault("list", "", err)
	}
	out := make([]model.TaskStatus, 0, len(have))
	for _, c := range have {
		if !isOf(r.opts.Instance, c.Labels) {
			continue
		}
		one := model.TaskStatus{ID: model.ContainerID(c.ID), State: model.TaskNone}
		if t := byID[c.ID]; t != nil {
			one = r.status(ctx, one.ID, t)
		}
		out = append(out, one)
	}
	return out, nil
}

// Status returns the state of one container; NotFound if there is none.
func (r *Runtime) Status(ctx context.Context, id model.ContainerID) (model.TaskStatus, error) {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	p, err := r.known(ctx, id)
	if err == nil {
		return r.status(ctx, id, p), nil
	}
	if !containerd.IsNotFound(err) {
		return model.TaskStatus{}, containerd.Fault("status", containerd.Describe(id), err)
	}
	if _, err := r.client.ContainerService().Get(ctx, string(id)); err != nil {
		return model.TaskStatus{}, containerd.Fault("status", containerd.Describe(id), err)
	}
	return model.TaskStatus{ID: id, State: model.TaskNone}, nil
}

// status translates containerd's words.
func (r *Runtime) status(ctx context.Context, id model.ContainerID, p *tasktypes.Process) model.TaskStatus {
	out := model.TaskStatus{ID: id, Pid: int(p.Pid), State: model.TaskUnknown}
	switch p.Status {
	case tasktypes.Status_CREATED:
		out.State = model.TaskCreated
	case tasktypes.Status_RUNNING:
		out.State = model.TaskRunning
	case tasktypes.Status_PAUSED, tasktypes.Status_PAUSING:
		out.State = model.TaskPaused
	case tasktypes.Status_STOPPED:
		out.State, out.Pid = model.TaskStopped, 0
		out.Exit = model.Exit{Code: int(p.ExitStatus), At: p.ExitedAt.AsTime(), OOMKilled: r.oomKilled(ctx, id)}
	case tasktypes.Status_UNKNOWN:
	}
	return out
}

// known asks for a process until containerd knows how it is. It waits two seconds
// for the shim, and then answers UNKNOWN with neither a pid nor streams: on a busy
// machine that is no more than "later". Unavailable if it stays so.
func (r *Runtime) known(ctx context.Context, id model.ContainerID) (*tasktypes.Process, error) {
	ctx, cancel := context.WithTimeout(ctx, knownTimeout)
	defer cancel()
	for {
		answer, err := r.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: string(id)})
		if err != nil {
			return nil, err
		}
		if p := answer.Process; !vague(p) {
			return p, nil
		}
		select {
		case <-ctx.Done():
			return nil, model.Errorf(model.Unavailable, "the shim of %s does not answer: %w", containerd.Describe(id), context.Cause(ctx))
		case <-time.After(containerd.RetryFirst):
		}
	}
}

func vague(p *tasktypes.Process) bool {
	return p.Status == tasktypes.Status_UNKNOWN || p.Status == tasktypes.Status_RUNNING && p.Pid == 0
}

// allKnown returns processes by container, asking again for those that containerd
// did not know. Those that stay unknown are given as they are.
func (r *Runtime) allKnown(ctx context.Context, list []*tasktypes.Process) (map[string]*tasktypes.Process, error) {
	out := make(map[string]*tasktypes.Process, len(list))
	ctx, cancel := context.WithTimeout(ctx, allKnownTimeout)
	defer cancel()
	for _, p := range list {
		if vague(p) {
			now, err := r.known(ctx, model.ContainerID(p.ID))
			switch {
			case err == nil:
				p = now
			case containerd.IsNotFound(err):
				continue
			case containerd.KindOf(err) != model.Unavailable && ctx.Err() == nil:
				return nil, err
			}
		}
		out[p.ID] = p
	}
	return out, nil
}

// loadSpec reads the OCI specification that Create stored.
func (r *Runtime) loadSpec(ctx context.Context, id model.ContainerID) (containers.Container, *specs.Spec, error) {
	c, err := r.client.ContainerService().Get(ctx, string(id))
	if err != nil {
		return c, nil, containerd.Fault("load", containerd.Describe(id), err)
	}
	var s specs.Spec
	if err := typeurl.UnmarshalTo(c.Spec, &s); err != nil {
		return c, nil, fmt.Errorf("read the specification of %s: %w", containerd.Describe(id), err)
	}
	return c, &s, nil
}

// Check refuses what no container could be made of, as far as the specification alone
// tells. Create would refuse the same, but only once the container starts.
func (r *Runtime) Check(spec model.ContainerSpec) error { return r.host.Check(spec) }

// SystemPaths returns what is masked and what is read-only in a container that is not
// told otherwise.
func (r *Runtime) SystemPaths() (masked, readonly []string) { return r.host.SystemPaths() }
