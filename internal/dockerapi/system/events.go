package system

import (
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/events"

	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/images"
	"github.com/linkspan/linkspan/internal/model"
)

// legacyEvent has the fields of before 1.22, sent until 1.51: tools read them to
// this day.
type legacyEvent struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

// recordSeparator begins every value of application/json-seq (RFC 7464).
const recordSeparator = "\x1e"

func (a *api) getEvents(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	now := time.Now()
	since, err := r.Moment("since", now)
	if err != nil {
		return model.Errorf(model.Invalid, "invalid value for 'since': %w", err)
	}
	until, err := r.Moment("until", now)
	if err != nil {
		return model.Errorf(model.Invalid, "invalid value for 'until': %w", err)
	}
	if !until.IsZero() && until.Before(since) {
		return model.Errorf(model.Invalid, "`since` time (%s) cannot be after `until` time (%s)", r.Query.Get("since"), r.Query.Get("until"))
	}
	ctx, cancel := httpkit.UntilClosing(r.Context())
	defer cancel()
	past, live := a.Events.Subscribe(ctx, since, until, func(e events.Message) bool { return matchEvent(f, e) })
	kind := eventType(r)
	out := httpkit.NewStream(w, r, kind)
	if err := out.Open(); err != nil {
		return err
	}
	send := eventSender(out, r.Version, kind)
	for _, e := range past {
		if err := send(e); err != nil {
			return err
		}
	}
	for e := range live {
		if err := send(e); err != nil {
			return err
		}
	}
	return nil
}

// eventType chooses among the forms that the client accepts.
func eventType(r *httpkit.Request) string {
	if r.Version < 52 {
		return types.MediaTypeJSON
	}
	for one := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, _, err := mime.ParseMediaType(one)
		if err != nil {
			continue
		}
		switch kind {
		case types.MediaTypeNDJSON, types.MediaTypeJSONSequence:
			return kind
		case types.MediaTypeJSONLines:
			if r.Version >= 53 {
				return kind
			}
		}
	}
	return types.MediaTypeJSON
}

// eventSender returns a function that sends one event, in one piece.
func eventSender(out *httpkit.Stream, v httpkit.Version, kind string) func(events.Message) error {
	return func(e events.Message) error {
		var value any = e
		if v < 52 {
			value = asLegacy(e)
		}
		raw, err := json.Marshal(value)
		if err != nil {
			return err
		}
		raw = append(raw, '\n')
		if kind == types.MediaTypeJSONSequence {
			raw = append([]byte(recordSeparator), raw...)
		}
		_, err = out.Write(raw)
		return err
	}
}

func asLegacy(e events.Message) legacyEvent {
	out := legacyEvent{Message: e}
	switch e.Type {
	case events.ContainerEventType:
		out.Status, out.ID, out.From = string(e.Action), e.Actor.ID, e.Actor.Attributes["image"]
	case events.ImageEventType:
		out.Status, out.ID = string(e.Action), e.Actor.ID
	}
	return out
}

// matchEvent tells whether an event meets all filters. Keys that are not known
// are passed over, as Docker does here and nowhere else.
func matchEvent(f containerhub.Filters, e events.Message) bool {
	if !f.Match("event", func(want string) bool { return matchAction(want, string(e.Action)) }) ||
		!f.MatchExact("type", string(e.Type)) || !f.MatchExact("scope", e.Scope) {
		return false
	}
	name := e.Actor.Attributes["name"]
	for _, kind := range []string{"daemon", "container", "plugin", "volume", "network", "node", "service", "secret", "config"} {
		if !f.MatchPrefix(kind, e.Actor.ID) && !f.MatchPrefix(kind, name) {
			return false
		}
	}
	if !matchEventImage(f, e) {
		return false
	}
	return f.MatchLabels("label", e.Actor.Attributes)
}

// matchAction lets "exec_start" stand for "exec_start: /bin/sh" too.
func matchAction(want, action string) bool {
	verb, _, _ := strings.Cut(action, ": ")
	return want == action || want == verb
}

// matchEventImage compares with an image's name with and without its tag.
func matchEventImage(f containerhub.Filters, e events.Message) bool {
	attribute := "image"
	if e.Type == events.ImageEventType {
		attribute = "name"
	}
	name := e.Actor.Attributes[attribute]
	return f.MatchExact("image", e.Actor.ID) || f.MatchExact("image", name) || f.MatchExact("image", images.WithoutTag(name))
}
