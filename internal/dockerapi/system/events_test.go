package system

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/query"
)

// id returns an ID of 64 digits that begins with a digit.
func id(digit string) string { return strings.Repeat(digit, 64) }

func started() events.Message {
	return events.Message{Type: "container", Action: "start", Scope: "local", Time: 5, TimeNano: 5e9,
		Actor: events.Actor{ID: id("1"), Attributes: map[string]string{"name": "web", "image": "busybox:latest", "env": "test"}}}
}

func TestMatchEvent(t *testing.T) {
	health := started()
	health.Action = "exec_start: /bin/sh"
	net := events.Message{Type: "network", Action: "connect", Scope: "local",
		Actor: events.Actor{ID: id("b"), Attributes: map[string]string{"name": "bridge", "container": id("1")}}}
	image := events.Message{Type: "image", Action: "tag", Actor: events.Actor{ID: "sha256:1", Attributes: map[string]string{"name": "host:5000/a/b:1"}}}
	for _, c := range []struct {
		filters string
		event   events.Message
		want    bool
	}{
		{``, started(), true},
		{`{"type":["network"]}`, started(), false},
		{`{"type":["network","container"]}`, started(), true},
		{`{"event":["start"]}`, started(), true},
		{`{"event":["star"]}`, started(), false},
		{`{"event":["exec_start"]}`, health, true},
		{`{"event":["exec_start: /bin/sh"]}`, health, true},
		{`{"container":["web"]}`, started(), true},
		{`{"container":["we"]}`, started(), true},
		{`{"container":["1111"]}`, started(), true},
		{`{"container":["db"]}`, started(), false},
		{`{"network":["bridge"]}`, net, true},
		{`{"network":["other"]}`, net, false},
		{`{"image":["busybox"]}`, started(), true},
		{`{"image":["busybox:latest"]}`, started(), true},
		{`{"image":["busy"]}`, started(), false},
		{`{"image":["host:5000/a/b"]}`, image, true},
		{`{"label":["env"]}`, started(), true},
		{`{"label":["env=test"]}`, started(), true},
		{`{"label":["env=prod"]}`, started(), false},
		{`{"scope":["swarm"]}`, started(), false},
		{`{"unheard":["of"]}`, started(), true},
	} {
		f, err := query.ParseFilters(c.filters)
		if err != nil {
			t.Fatal(err)
		}
		if got := matchEvent(f, c.event); got != c.want {
			t.Errorf("%s on %s %s: %t", c.filters, c.event.Type, c.event.Action, got)
		}
	}
}

func TestLegacyEventOfANetworkHasNoID(t *testing.T) {
	e := started()
	e.Type = events.NetworkEventType
	if got := asLegacy(e); got.ID != "" || got.Status != "" {
		t.Errorf("%+v", got)
	}
}

// FuzzMatchEvent: whatever filters there are, an event meets them or it does not.
func FuzzMatchEvent(f *testing.F) {
	for _, seed := range []string{"", `{"label":["a=b"]}`, `{"label":{"a=b":true}}`, `{"a":null}`, `{"image":["x"]}`, `[]`, `{"event":["(("]}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		filters, err := query.ParseFilters(text)
		if err != nil {
			return
		}
		matchEvent(filters, started())
	})
}
