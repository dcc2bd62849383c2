package events

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
)

func TestEvents(t *testing.T) {
	b, ctx := &Bus{}, t.Context()
	any := func(events.Message) bool { return true }
	for i := range kept + 10 {
		b.Publish(events.Message{Type: events.NetworkEventType, Action: events.Action(strconv.Itoa(i))})
	}
	past, _ := b.Subscribe(ctx, time.Unix(1, 0), time.Time{}, any)
	if len(past) != kept || past[0].Action != "10" || past[0].Scope != "local" || past[0].Time == 0 {
		t.Fatalf("%d events, the first %+v", len(past), past[0])
	}
	for name, c := range map[string]struct {
		since, until time.Time
		count        int
	}{
		"since the beginning":    {time.Unix(0, 0), time.Time{}, kept},
		"until now, since ever":  {time.Time{}, time.Now(), kept},
		"until the first second": {time.Time{}, time.Unix(1, 0), 0},
		"since an hour from now": {time.Now().Add(time.Hour), time.Time{}, 0},
	} {
		got, live := b.Subscribe(ctx, c.since, c.until, any)
		if len(got) != c.count {
			t.Errorf("%s: %d events, want %d", name, len(got), c.count)
		}
		if !c.until.IsZero() {
			if e, more := <-live; more {
				t.Errorf("%s: %+v after the end", name, e)
			}
		}
	}
	none, live := b.Subscribe(ctx, time.Time{}, time.Time{}, func(e events.Message) bool { return e.Type == events.ContainerEventType })
	if len(none) != 0 {
		t.Fatal("the past was not asked for")
	}
	b.Publish(events.Message{Type: events.NetworkEventType, Action: "other"})
	b.Publish(Container("create", "c0ffee", map[string]string{"l": "v"}, "name", "one"))
	if got := receive(t, live); got.Action != "create" || got.Actor.ID != "c0ffee" || got.Actor.Attributes["name"] != "one" || got.Actor.Attributes["l"] != "v" {
		t.Fatalf("%+v", got)
	}
	_, ended := b.Subscribe(ctx, time.Time{}, time.Now().Add(-time.Second), any)
	if _, ok := <-ended; ok {
		t.Fatal("a subscription until a moment that has passed goes on")
	}
	_, slow := b.Subscribe(ctx, time.Time{}, time.Time{}, any)
	for range behind + 1 {
		b.Publish(events.Message{})
	}
	n := 0
	for range slow {
		n++
	}
	if n != behind {
		t.Fatalf("a slow subscriber got %d before it was cut off", n)
	}
}

// TestEventsAreBounded: neither what is kept nor what waits for a slow reader takes
// more memory than a bound, however long labels are.
func TestEventsAreBounded(t *testing.T) {
	b, ctx := &Bus{}, t.Context()
	any := func(events.Message) bool { return true }
	_, slow := b.Subscribe(ctx, time.Time{}, time.Time{}, any)
	_, quick := b.Subscribe(ctx, time.Time{}, time.Time{}, any)
	large := func(i int) events.Message {
		return events.Message{Action: events.Action(strconv.Itoa(i)),
			Actor: events.Actor{Attributes: map[string]string{"label": strings.Repeat("x", 1<<20)}}}
	}
	for i := range 100 {
		b.Publish(large(i))
		if got := receive(t, quick); got.Action != events.Action(strconv.Itoa(i)) {
			t.Fatalf("event %s, want %d", got.Action, i)
		}
	}
	n := 0
	for range slow {
		n++
	}
	if n < 10 || n > 16 {
		t.Errorf("a slow reader got %d MB before it was cut off", n)
	}
	past, _ := b.Subscribe(ctx, time.Unix(1, 0), time.Time{}, any)
	if len(past) < 10 || len(past) > 16 || past[len(past)-1].Action != "99" {
		t.Errorf("%d MB are kept", len(past))
	}
	huge := large(100)
	huge.Actor.Attributes["more"] = strings.Repeat("x", maxBytes)
	b.Publish(huge)
	if got := receive(t, quick); got.Action != "100" { // nothing waits, so it is passed on
		t.Errorf("%s", got.Action)
	}
	b.Publish(events.Message{Action: "small"})
	if past, _ := b.Subscribe(ctx, time.Unix(1, 0), time.Time{}, any); len(past) != 1 || past[0].Action != "small" {
		t.Errorf("%d events are kept after one that is too large", len(past))
	}
}

func receive(t *testing.T, from <-chan Message) Message {
	t.Helper()
	select {
	case e := <-from:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came in time")
		panic("unreachable")
	}
}
