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
	// eventBytes bounds the memory of the events that are kept, and of those that a
	// subscriber lags behind: labels and commands may have megabytes.
	eventBytes = 16 << 20
)

// eventLog remembers the last events and passes new ones on. The zero value is
// ready.
type eventLog struct {
	mu          sync.Mutex
	ring        []events.Message // oldest first
	bytes       int              // of ring
	subscribers map[*subscriber]bool
}

type subscriber struct {
	until time.Time
	match func(events.Message) bool
	live  chan events.Message
	sizes []int // of the events sent last, at least those that wait
	bytes int   // the sum of sizes
}

// wants tells whether an event comes before the end, and matches. Those to come
// are not compared with the beginning: the client's clock may be ahead of ours.
func (s *subscriber) wants(e events.Message) bool {
	return (s.until.IsZero() || !time.Unix(0, e.TimeNano).After(s.until)) && s.match(e)
}

// Publish records an event and passes it on. Time and scope are filled in where
// they are missing. It does not wait for anybody: a subscriber that is too far
// behind is cut off.
func (m *Manager) Publish(e events.Message) {
	if e.Scope == "" {
		e.Scope = "local"
	}
	l := &m.events
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.TimeNano == 0 { // under the lock, so that the order is that of the times
		now := time.Now()
		e.Time, e.TimeNano = now.Unix(), now.UnixNano()
	}
	size := sizeOf(e)
	l.keepLocked(e, size)
	for s := range l.subscribers {
		if s.wants(e) && !s.send(e, size) {
			l.dropLocked(s)
		}
	}
}

// keepLocked remembers an event and forgets the oldest ones for it.
func (l *eventLog) keepLocked(e events.Message, size int) {
	l.ring, l.bytes = append(l.ring, e), l.bytes+size
	for len(l.ring) > eventsKept || l.bytes > eventBytes {
		l.bytes -= sizeOf(l.ring[0])
		l.ring[0] = events.Message{} // what is behind the slice is not kept
		l.ring = l.ring[1:]
	}
}

// send passes an event on; false if too much waits already. Nobody else may send.
func (s *subscriber) send(e events.Message, size int) bool {
	for len(s.sizes) > len(s.live) { // those have been taken
		s.bytes -= s.sizes[0]
		s.sizes = s.sizes[1:]
	}
	if len(s.sizes) > 0 && s.bytes+size > eventBytes {
		return false
	}
	select {
	case s.live <- e:
		s.sizes, s.bytes = append(s.sizes, size), s.bytes+size
		return true
	default:
		return false
	}
}

// sizeOf returns how much memory an event takes, about.
func sizeOf(e events.Message) int {
	n := len(e.Type) + len(e.Action) + len(e.Actor.ID) + len(e.Scope)
	for name, value := range e.Actor.Attributes {
		n += len(name) + len(value) + 2*textCost
	}
	return n
}

// Subscribe returns the remembered events from since until until that match, the
// oldest first, and a channel of those to come, without a gap in between. A zero
// time is no bound; without any, none of the past is asked for. The channel is
// closed when ctx ends, when until has passed, which it may have already, or when
// its reader is more than 1024 events behind.
func (m *Manager) Subscribe(ctx context.Context, since, until time.Time, match func(events.Message) bool) (past []events.Message, live <-chan events.Message) {
	s := &subscriber{until: until, match: match, live: make(chan events.Message, eventsBehind)}
	l := &m.events
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.ring {
		asked := (!since.IsZero() || !until.IsZero()) && !time.Unix(0, e.TimeNano).Before(since)
		if asked && s.wants(e) {
			past = append(past, e)
		}
	}
	if !until.IsZero() && until.Before(time.Now()) {
		close(s.live) // nothing can come any more
		return past, s.live
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

// SayReloaded publishes that the daemon called id has new settings.
func (m *Manager) SayReloaded(id string, settings map[string]string) {
	m.Publish(events.Message{Type: events.DaemonEventType, Action: events.ActionReload,
		Actor: events.Actor{ID: id, Attributes: settings}})
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
	for _, e := range s.EndpointsInOrder(b.snapshot().Sandbox) {
		if n, ok := s.Network(e.Network); ok {
			m.sayNetwork(action, n, b.id)
		}
	}
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
