package containers

import (
	"context"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containers/exec"
	"github.com/linkspan/linkspan/internal/containers/netfiles"
	"github.com/linkspan/linkspan/internal/containers/reader"
	"github.com/linkspan/linkspan/internal/model"
)

// handle is a container as its execs, its health check and readers know it.
type handle struct {
	*announcer
	b *entry
}

// handle finds a container for its execs.
func (m *Manager) handle(ref string) (exec.Container, error) {
	b, err := m.find(ref)
	if err != nil {
		return nil, err
	}
	return handle{m.announcer, b}, nil
}

// ID returns the container's ID.
func (h handle) ID() model.ContainerID { return h.b.id }

// Ready refuses execs of a container that does not run, or is paused.
func (h handle) Ready() error {
	rec := h.b.snapshot()
	switch {
	case h.b.current() == nil && rec.State.Restarting:
		return restarting(h.b.id)
	case h.b.current() == nil:
		return notRunning(h.b.id)
	case rec.State.Paused:
		return model.Errorf(model.Conflict, "container %s is paused, unpause the container before exec", h.b.id)
	}
	return nil
}

// Record returns the record as it is now.
func (h handle) Record() containerrecord.Record { return h.b.Record() }

// Ended returns what is closed when the process that runs now has ended; nil without one.
func (h handle) Ended() <-chan struct{} {
	if r := h.b.current(); r != nil {
		return r.ended
	}
	return nil
}

// NotRunning is the refusal of what needs a process.
func (h handle) NotRunning() error { return notRunning(h.b.id) }

// Gone tells whether the container was removed.
func (h handle) Gone() bool { return h.b.isGone() }

// OrEnded puts "is not running" in the place of an error that says that the process is
// gone.
func (h handle) OrEnded(err error) error { return orEnded(h.b.id, err) }

// Say publishes an event of the container.
func (h handle) Say(action events.Action, pairs ...string) { h.say(h.b, action, pairs...) }

// finder shows the containers of a registry to the packages below this one.
type finder struct {
	*registry
	*announcer
}

// Find finds a container as registry.find does.
func (f finder) Find(ref string) (reader.Container, error) {
	b, err := f.find(ref)
	if err != nil {
		return nil, err
	}
	return handle{f.announcer, b}, nil
}

// ByID finds a container for those who only know IDs.
func (f finder) ByID(id model.ContainerID) (reader.Container, bool) {
	b, ok := f.entry(id)
	if !ok {
		return nil, false
	}
	return handle{f.announcer, b}, true
}

// All returns every container, the newest first.
func (f finder) All() []reader.Container {
	var out []reader.Container
	for _, b := range f.all() {
		out = append(out, handle{f.announcer, b})
	}
	return out
}

// withFiles shows them to package netfiles.
type withFiles struct{ *registry }

// ByID finds a container for those who only know IDs.
func (w withFiles) ByID(id model.ContainerID) (netfiles.Container, bool) {
	b, ok := w.entry(id)
	return b, ok
}

// removable shows them to package prune.
type removable struct{ *Manager }

// Records returns all containers, the newest first.
func (r removable) Records() []containerrecord.Record {
	var out []containerrecord.Record
	for _, b := range r.all() {
		out = append(out, b.Record())
	}
	return out
}

// RemoveStopped removes a container that does not run.
func (r removable) RemoveStopped(ctx context.Context, id model.ContainerID) error {
	return r.Remove(ctx, string(id), RemoveOptions{})
}
