package containers

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/model"
)

// namespaces finds those of other containers that a container joins.
type namespaces struct {
	*registry
	dirs containerfiles.Dirs
	log  *slog.Logger
}

// shareSpec says in spec whose process and IPC namespaces a container has.
func (s *specs) shareSpec(spec *model.ContainerSpec, r record) {
	if r.Host.PidMode.IsContainer() {
		spec.PIDNamespace = s.dirs.PIDNamespace(r.ID)
	}
	switch mode := r.Host.IpcMode; {
	case mode.IsContainer():
		spec.IPCNamespace = s.dirs.IPCNamespace(r.ID)
		spec.SharedMemory = model.ContainerID(mode.Container())
	case mode.IsShareable():
		spec.SharedMemory = r.ID
	case mode.IsNone():
		spec.NoSharedMemory = true
	}
}

// sharedMemory returns how many bytes of /dev/shm others may have too; 0 for none.
func sharedMemory(r record) int64 {
	if !r.Host.IpcMode.IsShareable() {
		return 0
	}
	return r.Host.ShmSize
}

// keepSharers replaces names of containers whose namespaces are joined with their IDs,
// which a rename leaves as they are. What is not there is told at start.
func (cr *creator) keepSharers(h *container.HostConfig) {
	if b, err := cr.find(h.PidMode.Container()); err == nil && h.PidMode.IsContainer() {
		h.PidMode = container.PidMode("container:" + string(b.id))
	}
	if b, err := cr.find(h.IpcMode.Container()); err == nil && h.IpcMode.IsContainer() {
		h.IpcMode = container.IpcMode("container:" + string(b.id))
	}
}

// join sets the links to the namespaces that a container joins. What it returns tells,
// once the container has joined, whether it was those: a process's number may have
// become another's meanwhile.
func (n *namespaces) join(r record) (joined func() error, err error) {
	var checks []func() error
	for _, s := range []struct {
		asked           bool
		ref, kind, link string
		memory          bool
	}{
		{r.Host.PidMode.IsContainer(), r.Host.PidMode.Container(), "pid", n.dirs.PIDNamespace(r.ID), false},
		{r.Host.IpcMode.IsContainer(), r.Host.IpcMode.Container(), "ipc", n.dirs.IPCNamespace(r.ID), true},
	} {
		if !s.asked {
			continue
		}
		b, run, err := n.sharer(r, s.ref)
		if err != nil {
			return nil, err
		}
		other := b.snapshot()
		if s.memory && !other.Host.IpcMode.IsShareable() {
			return nil, model.Errorf(model.Invalid, "container %s: non-shareable IPC (hint: use IpcMode:shareable for the donor container)", s.ref)
		}
		target := filepath.Join("/proc", fmt.Sprint(other.State.Pid), "ns", s.kind)
		which, err := containerfiles.LinkedTo(target)
		if err != nil || which == "" {
			return nil, notRunning(b.id) // it has just ended
		}
		if err := containerfiles.Link(target, s.link); err != nil {
			return nil, err
		}
		checks = append(checks, func() error {
			if now, err := containerfiles.LinkedTo(target); err != nil || now != which || b.current() != run {
				return notRunning(b.id)
			}
			return nil
		})
	}
	return func() error {
		for _, check := range checks {
			if err := check(); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// sharer finds the container whose namespace r joins, which must run.
func (n *namespaces) sharer(r record, ref string) (*entry, *run, error) {
	b, err := n.find(ref)
	if err != nil {
		// Not found would make the docker command look for an image.
		return nil, nil, model.Errorf(model.Invalid, "%s", err.Error())
	}
	current, s := b.current(), b.snapshot().State
	switch {
	case b.id == r.ID:
		return nil, nil, model.Errorf(model.Unfit, "cannot join own namespace")
	case s.Restarting:
		return nil, nil, restarting(b.id)
	case current == nil || !s.Running || s.Pid == 0:
		return nil, nil, notRunning(b.id)
	}
	return b, current, nil
}

// lacks tells whether something was removed without which a container cannot start: a network of its own, or a container
// whose namespaces it joins.
func (la *launcher) lacks(r record) bool {
	for _, ref := range []string{r.mode().ConnectedContainer(), r.Host.PidMode.Container(), r.Host.IpcMode.Container()} {
		if _, err := la.namespaces.find(ref); ref != "" && model.KindOf(err) == model.NotFound {
			return true
		}
	}
	now := la.engine.Snapshot()
	sb, _ := now.Sandbox(r.Sandbox)
	return slices.ContainsFunc(sb.Pending, func(e model.EndpointSpec) bool {
		_, err := now.FindNetwork(e.Network)
		return e.Network != model.NetworkBridge && model.KindOf(err) == model.NotFound
	})
}
