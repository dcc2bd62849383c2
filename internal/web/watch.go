package web

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/privateapi"
)

const (
	refresh = 500 * time.Millisecond
	// meter is how long rates are means of.
	meter = time.Second
	// compare is how often the kernel is compared with what is wanted: that reads all of it.
	compare = 15 * time.Second
)

// Message is one line of /api/watch: the one thing in it that is new.
type Message struct {
	State *privateapi.State `json:",omitempty"` // all that there is; sent when it has changed
	Top   *privateapi.Top   `json:",omitempty"`
	Drift *privateapi.Drift `json:",omitempty"`
	Event *Event            `json:",omitempty"`
	// Away says that the daemon does not answer; what was sent before is how it was. The next State ends it.
	Away string `json:",omitempty"`
}

// watch sends one message after another until whoever looks goes away.
func (s *server) watch(w http.ResponseWriter, r *http.Request) {
	select {
	case s.watchers <- struct{}{}:
		defer func() { <-s.watchers }()
	default:
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := &lines{encoder: json.NewEncoder(w), control: http.NewResponseController(w), end: cancel}
	var work sync.WaitGroup
	work.Go(func() { s.watchState(ctx, out) })
	work.Go(func() { s.watchTop(ctx, out) })
	work.Go(func() { s.drift.follow(ctx, func(d privateapi.Drift) { out.send(Message{Drift: &d}) }) })
	if s.Events != nil {
		work.Go(func() {
			again(ctx, meter, func() error { return s.Events(ctx, func(e Event) { out.send(Message{Event: &e}) }) })
		})
	}
	work.Wait()
}

// lines are messages to one page.
type lines struct {
	mu      sync.Mutex
	encoder *json.Encoder
	control *http.ResponseController
	end     context.CancelFunc
}

// send writes a message at once. A page that does not read ends its watch.
func (l *lines) send(m Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.control.SetWriteDeadline(time.Now().Add(writePatience)) // not every writer has one
	if err := l.encoder.Encode(m); err != nil {
		l.end()
		return
	}
	_ = l.control.Flush() // the next write says what is wrong
}

// again calls f, and again some time after it has returned, until ctx ends.
func again(ctx context.Context, after time.Duration, f func() error) {
	for ctx.Err() == nil {
		_ = f() // that the daemon is away, watchState says
		select {
		case <-time.After(after):
		case <-ctx.Done():
		}
	}
}

// watchState sends what there is whenever that has changed, and once that the daemon is away.
func (s *server) watchState(ctx context.Context, out *lines) {
	type version struct {
		pid      int
		revision uint64
	}
	var sent version
	away := false
	again(ctx, s.Refresh, func() error {
		state, err := s.Daemon.State(ctx)
		switch now := (version{state.Daemon.Pid, state.Revision}); {
		case ctx.Err() != nil:
		case err != nil && !away:
			away, sent = true, version{}
			out.send(Message{Away: err.Error()})
		case err == nil && now != sent:
			away, sent = false, now
			out.send(Message{State: &state})
		}
		return nil
	})
}

func (s *server) watchTop(ctx context.Context, out *lines) {
	again(ctx, meter, func() error {
		return s.Daemon.Top(ctx, meter, 0, func(t privateapi.Top) error {
			out.send(Message{Top: &t})
			return ctx.Err()
		})
	})
}
