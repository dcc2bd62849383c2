package containers

import (
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containers/exec"
	"github.com/linkspan/linkspan/internal/model"
)

// handle is a container as its execs and its health check know it.
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

// Gone tells whether the container was removed.
func (h handle) Gone() bool { return h.b.isGone() }

// OrEnded puts "is not running" in the place of an error that says that the process is
// gone.
func (h handle) OrEnded(err error) error { return orEnded(h.b.id, err) }

// Say publishes an event of the container.
func (h handle) Say(action events.Action, pairs ...string) { h.say(h.b, action, pairs...) }
