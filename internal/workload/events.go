package workload

import (
	"strconv"
	"time"

	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
)

// Publisher is told what happens to containers.
type Publisher interface {
	// Publish does not wait for anybody.
	Publish(e events.Message)
}

// say publishes an event of a container. Attributes are pairs of name and value
// besides the container's labels, image and name.
func (m *Manager) say(b *box, action dockerevents.Action, pairs ...string) {
	r := b.snapshot()
	m.o.Events.Publish(events.Container(action, b.id, r.Config.Labels, append([]string{"image", r.Config.Image, "name", r.Name}, pairs...)...))
}

// sayNetwork publishes that a container joined or left a network.
func (m *Manager) sayNetwork(action dockerevents.Action, n model.Network, c model.ContainerID) {
	m.o.Events.Publish(events.Network(action, n, "container", string(c)))
}

// sayNetworks publishes action for every network of a sandbox.
func (m *Manager) sayNetworks(action dockerevents.Action, b *box) {
	s := m.o.Engine.Snapshot()
	for _, e := range s.EndpointsInOrder(b.snapshot().Sandbox) {
		if n, ok := s.Network(e.Network); ok {
			m.sayNetwork(action, n, b.id)
		}
	}
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
