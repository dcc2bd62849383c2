package workload

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// eventsKept is how many events can be asked for afterwards, as with Docker.
	eventsKept = 256
	// eventsBehind is how far a subscriber may lag before it is cut off.
	eventsBehind = 1024
)

// eventLog remembers the last events and passes new ones on. The zero value is
// ready.
type eventLog struct {
	mu          sync.Mutex
	ring        []events.Message // oldest first once next wraps
	next        int
	subscribers map[*subscriber]bool
}

type subscriber struct {
	match func(events.Message) bool
	live  chan events.Message
}

// Publish records an event and passes it on. Time and scope are filled in where
// they are missing. It does not wait for anybody: a subscriber that is too far
// behind is cut off.
func (m *Manager) Publish(e events.Message) {
	if e.TimeNano == 0 {
		now := time.Now()
		e.Time, e.TimeNano = now.Unix(), now.UnixNano()
	}
	if e.Scope == "" {
		e.Scope = "local"
	}
	l := &m.events
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < eventsKept {
		l.ring = append(l.ring, e)
	} else {
		l.ring[l.next] = e
		l.next = (l.next + 1) % eventsKept
	}
	for s := range l.subscribers {
		if !s.match(e) {
			continue
		}
		select {
		case s.live <- e:
		default:
			l.dropLocked(s)
		}
	}
}

// Subscribe returns the remembered events after since that match, and a channel
// of those to come, without a gap in between. A zero since asks for none of the
// past. The channel is closed when ctx ends, when until (unless zero) has
// passed, or when its reader is more than 1024 events behind.
func (m *Manager) Subscribe(ctx context.Context, since, until time.Time, match func(events.Message) bool) (past []events.Message, live <-chan events.Message) {
	s := &subscriber{match: match, live: make(chan events.Message, eventsBehind)}
	l := &m.events
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.ring {
		e := l.ring[(l.next+i)%len(l.ring)]
		at := time.Unix(0, e.TimeNano)
		if !since.IsZero() && !at.Before(since) && (until.IsZero() || !at.After(until)) && match(e) {
			past = append(past, e)
		}
	}
	cancel := context.CancelFunc(func() {})
	if !until.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, until)
	}
	if l.subscribers == nil {
		l.subscribers = map[*subscriber]bool{}
	}
	l.subscribers[s] = true
	context.AfterFunc(ctx, func() {
		defer cancel()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.dropLocked(s)
	})
	return past, s.live
}

// dropLocked ends a subscription; twice is the same as once.
func (l *eventLog) dropLocked(s *subscriber) {
	if l.subscribers[s] {
		delete(l.subscribers, s)
		close(s.live)
	}
}

// say publishes an event of a container. Attributes are pairs of name and value
// besides the container's labels, image and name.
func (m *Manager) say(b *box, action events.Action, pairs ...string) {
	r := b.snapshot()
	attributes := maps.Clone(r.Config.Labels)
	if attributes == nil {
		attributes = map[string]string{}
	}
	attributes["image"], attributes["name"] = r.Config.Image, r.Name
	for i := 0; i+1 < len(pairs); i += 2 {
		attributes[pairs[i]] = pairs[i+1]
	}
	m.Publish(events.Message{Type: events.ContainerEventType, Action: action,
		Actor: events.Actor{ID: string(b.id), Attributes: attributes}})
}

// sayNetwork publishes that a container joined or left a network.
func (m *Manager) sayNetwork(action events.Action, n model.Network, c model.ContainerID) {
	m.Publish(events.Message{Type: events.NetworkEventType, Action: action,
		Actor: events.Actor{ID: string(n.ID), Attributes: map[string]string{
			"container": string(c), "name": n.Name, "type": n.Driver}}})
}

// sayNetworks publishes action for every network of a sandbox.
func (m *Manager) sayNetworks(action events.Action, b *box) {
	s := m.o.Engine.Snapshot()
	for _, e := range endpointsOf(s, b.snapshot().Sandbox) {
		if n, ok := s.Network(e.Network); ok {
			m.sayNetwork(action, n, b.id)
		}
	}
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
