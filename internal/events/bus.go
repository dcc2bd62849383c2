// Package events is the bus on which the hubs say what happened (docker events).
//
//	containers, networks, images ─▶ Publish ─▶ Bus ─▶ Subscribe ─▶ every client
//	                                            │
//	                                            ╰─ the last 1024, for who asks later
//
// It promises every subscriber all events in one order, without a gap between
// those that were kept and those that come. Who publishes never waits: what a
// client may lag behind, and what is kept, is bounded in number and in bytes. It
// must not know what an event means.
package events

import (
	"context"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
)

// Message is an event in Docker's form.
type Message = events.Message

const (
	// kept is how many events can be asked for afterwards. Docker keeps 256, which a project of 20 services with health
	// checks fills within a minute.
	kept = 1024
	// behind is how far a subscriber may lag before it is cut off.
	behind = 1024
	// maxBytes bounds the memory of the events that are kept, and of those that a
	// subscriber lags behind: labels and commands may have megabytes.
	maxBytes = 16 << 20
	// textCost is what a text in a map takes besides its bytes, about.
	textCost = 32
)

// Bus remembers the last events and passes new ones on. The zero value is ready.
// Its methods may be called from any goroutine.
type Bus struct {
	mu          sync.Mutex
	ring        []Message // oldest first
	bytes       int       // of ring
	subscribers map[*subscriber]bool
}

type subscriber struct {
	until time.Time
	match func(Message) bool
	live  chan Message
	sizes []int // of the events sent last, at least those that wait
	bytes int   // the sum of sizes
}

// wants tells whether an event comes before the end, and matches. Those to come
// are not compared with the beginning: the client's clock may be ahead of ours.
func (s *subscriber) wants(e Message) bool {
	return (s.until.IsZero() || !time.Unix(0, e.TimeNano).After(s.until)) && s.match(e)
}

// Publish records an event and passes it on. Time and scope are filled in where
// they are missing. It does not wait for anybody: a subscriber that is too far
// behind is cut off.
func (b *Bus) Publish(e Message) {
	if e.Scope == "" {
		e.Scope = "local"
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.TimeNano == 0 { // under the lock, so that the order is that of the times
		now := time.Now()
		e.Time, e.TimeNano = now.Unix(), now.UnixNano()
	}
	size := sizeOf(e)
	b.keepLocked(e, size)
	for s := range b.subscribers {
		if s.wants(e) && !s.send(e, size) {
			b.dropLocked(s)
		}
	}
}

// keepLocked remembers an event and forgets the oldest ones for it.
func (b *Bus) keepLocked(e Message, size int) {
	b.ring, b.bytes = append(b.ring, e), b.bytes+size
	for len(b.ring) > kept || b.bytes > maxBytes {
		b.bytes -= sizeOf(b.ring[0])
		b.ring[0] = Message{} // what is behind the slice is not kept
		b.ring = b.ring[1:]
	}
}

// send passes an event on; false if too much waits already. Nobody else may send.
func (s *subscriber) send(e Message, size int) bool {
	for len(s.sizes) > len(s.live) { // those have been taken
		s.bytes -= s.sizes[0]
		s.sizes = s.sizes[1:]
	}
	if len(s.sizes) > 0 && s.bytes+size > maxBytes {
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
func sizeOf(e Message) int {
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
func (b *Bus) Subscribe(ctx context.Context, since, until time.Time, match func(Message) bool) (past []Message, live <-chan Message) {
	s := &subscriber{until: until, match: match, live: make(chan Message, behind)}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.ring {
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
	if b.subscribers == nil {
		b.subscribers = map[*subscriber]bool{}
	}
	b.subscribers[s] = true
	context.AfterFunc(ctx, func() {
		defer cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.dropLocked(s)
	})
	return past, s.live
}

// dropLocked ends a subscription; twice is the same as once.
func (b *Bus) dropLocked(s *subscriber) {
	if b.subscribers[s] {
		delete(b.subscribers, s)
		close(s.live)
	}
}
