package containers

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

// announcer tells what happens to containers.
type announcer struct {
	events Publisher
	engine Engine
}

// say publishes an event of a container. Attributes are pairs of name and value
// besides the container's labels, image and name.
func (a *announcer) say(b *entry, action dockerevents.Action, pairs ...string) {
	r := b.snapshot()
	a.events.Publish(events.Container(action, b.id, r.Config.Labels, append([]string{"image", r.Config.Image, "name", r.Name}, pairs...)...))
}

// sayNetwork publishes that a container joined or left a network.
func (a *announcer) sayNetwork(action dockerevents.Action, n model.Network, c model.ContainerID) {
	a.events.Publish(events.Network(action, n, "container", string(c)))
}

// sayNetworks publishes action for every network of a sandbox.
func (a *announcer) sayNetworks(action dockerevents.Action, b *entry) {
	s := a.engine.Snapshot()
	for _, e := range s.EndpointsInOrder(b.snapshot().Sandbox) {
		if n, ok := s.Network(e.Network); ok && !e.WayOut {
			a.sayNetwork(action, n, b.id)
		}
	}
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
