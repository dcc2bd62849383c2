package private

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

// maxStreams is how many answers that go on for long are given at a time, to all who ask:
// each looks at the kernel again and again.
const maxStreams = 16

// streams are the places of answers that go on for long.
type streams chan struct{}

func newStreams(places int) streams { return make(streams, places) }

// serve answers with what f writes, piece by piece, until f returns, the client goes away or
// leaves a piece unread for httpkit.WritePatience, or the daemon ends. An error of f before
// its first piece is the answer; one after it is what ended says it is.
func (s streams) serve(w http.ResponseWriter, r *http.Request, f func(ctx context.Context, out *stream) error) {
	select {
	case s <- struct{}{}:
	default:
		http.Error(w, "too many answers of this kind are under way: wait for one to end", http.StatusServiceUnavailable)
		return
	}
	defer func() { <-s }()
	ctx, cancel := httpkit.UntilClosing(r.Context())
	defer cancel()
	recorder := &httpkit.Recorder{ResponseWriter: w}
	out := &stream{recorder, http.NewResponseController(w)}
	if err := f(ctx, out); err != nil && recorder.Status == 0 {
		http.Error(recorder, err.Error(), httpkit.StatusOf(err))
	}
}

// stream sends what is written to it at once.
type stream struct {
	*httpkit.Recorder
	control *http.ResponseController
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	n, err := s.Recorder.Write(p)
	if err != nil {
		return n, err
	}
	if err := s.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return n, err
	}
	return n, nil
}

// duration reads a span of time in a query; missing, it is otherwise. Errors: Invalid if it
// is none, or out of bounds.
func duration(r *http.Request, name string, otherwise, least, most time.Duration) (time.Duration, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		return 0, model.Errorf(model.Invalid, "invalid %s: %.64q: write a time from %s to %s", name, text, least, most)
	}
	return d, nil
}

// number reads a number in a query; missing, it is 0. Errors: Invalid if it is none, or out
// of bounds.
func number(r *http.Request, name string, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, model.Errorf(model.Invalid, "invalid %s: %.64q: write a number from 0 to %d", name, text, most)
	}
	return n, nil
}
