package dockerapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/moby/moby/api/types/common"

	"github.com/linkspan/linkspan/internal/model"
)

// statusOf is the one table from kinds of errors to statuses.
func statusOf(err error) int {
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		return http.StatusRequestEntityTooLarge
	}
	switch model.KindOf(err) {
	case model.Invalid:
		return http.StatusBadRequest
	case model.NotFound:
		return http.StatusNotFound
	case model.Conflict:
		return http.StatusConflict
	case model.Forbidden:
		return http.StatusForbidden
	case model.NotModified:
		return http.StatusNotModified
	case model.Unavailable:
		return http.StatusServiceUnavailable
	case model.NotImplemented:
		return http.StatusNotImplemented
	default:
		return http.StatusInternalServerError
	}
}

// writeError answers with an error. Errors that are nobody's fault but ours are
// logged; the client's own are not, unless they look like ours.
func (s *server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	switch {
	case status != http.StatusInternalServerError, errors.Is(err, context.Canceled):
	case model.KindOf(err) == model.Unfit:
		s.log.Info("request refused", "op", r.Method+" "+r.URL.Path, "err", err)
	default:
		s.log.Error("request failed", "op", r.Method+" "+r.URL.Path, "err", err)
	}
	if status == http.StatusNotModified {
		w.WriteHeader(status) // has no body (RFC 9110 section 15.4.5)
		return
	}
	if err := writeJSON(w, status, common.ErrorResponse{Message: err.Error()}); err != nil {
		s.log.Debug("answer not written", "op", r.Method+" "+r.URL.Path, "err", err)
	}
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err := w.Write(body.Bytes())
	return err
}

// stream is an answer that comes in pieces, each of which is sent at once. Until
// the first, an error can still be answered with its status.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	mu      sync.Mutex
	started bool
}

// newStream returns a stream of the given type.
func newStream(w http.ResponseWriter, r *request, contentType string) *stream {
	w.Header().Set("Content-Type", contentType)
	return &stream{w: w, control: r.control}
}

// open sends the headers.
func (s *stream) open() error {
	_, err := s.Write(nil)
	return err
}

// Write implements io.Writer; it may be called from several goroutines.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.started = true
		s.w.WriteHeader(http.StatusOK)
	}
	n, err := s.w.Write(p)
	if err != nil {
		return n, err
	}
	if err := s.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return n, err
	}
	return n, nil
}

// opened tells whether anything was sent.
func (s *stream) opened() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// encoder returns an encoder that sends each value at once.
func (s *stream) encoder() *json.Encoder {
	encoder := json.NewEncoder(io.Writer(s))
	encoder.SetEscapeHTML(false)
	return encoder
}
