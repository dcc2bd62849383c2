package httpkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"github.com/moby/moby/api/types/common"
	"github.com/moby/moby/api/types/jsonstream"

	"github.com/linkspan/linkspan/internal/model"
)

// StatusOf is the one table from kinds of errors to statuses.
func StatusOf(err error) int {
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
	case model.Unauthorized:
		return http.StatusUnauthorized
	case model.Unavailable:
		return http.StatusServiceUnavailable
	case model.NotImplemented:
		return http.StatusNotImplemented
	default:
		return http.StatusInternalServerError
	}
}

// WriteError answers with an error. Errors that are nobody's fault but ours are
// logged; the client's own are not, unless they look like ours.
func WriteError(log *slog.Logger, w http.ResponseWriter, r *http.Request, err error) {
	status := StatusOf(err)
	switch {
	case status != http.StatusInternalServerError, errors.Is(err, context.Canceled):
	case model.KindOf(err) == model.Unfit:
		log.Info("request refused", "op", r.Method+" "+r.URL.Path, "err", err)
	default:
		log.Error("request failed", "op", r.Method+" "+r.URL.Path, "err", err)
	}
	if status == http.StatusNotModified {
		w.WriteHeader(status) // has no body (RFC 9110 section 15.4.5)
		return
	}
	if err := WriteJSON(w, status, common.ErrorResponse{Message: err.Error()}); err != nil {
		log.Debug("answer not written", "op", r.Method+" "+r.URL.Path, "err", err)
	}
}

// WriteJSON answers with v.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
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

// Stream is an answer that comes in pieces, each of which is sent at once. Until
// the first, an error can still be answered with its status.
type Stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	mu      sync.Mutex
	started bool
}

// NewStream returns a stream of the given type.
func NewStream(w http.ResponseWriter, r *Request, contentType string) *Stream {
	w.Header().Set("Content-Type", contentType)
	return &Stream{w: w, control: r.control}
}

// Open sends the headers.
func (s *Stream) Open() error {
	_, err := s.Write(nil)
	return err
}

// Write implements io.Writer; it may be called from several goroutines.
func (s *Stream) Write(p []byte) (int, error) {
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

// Opened tells whether anything was sent.
func (s *Stream) Opened() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// Encoder returns an encoder that sends each value at once.
func (s *Stream) Encoder() *json.Encoder {
	encoder := json.NewEncoder(io.Writer(s))
	encoder.SetEscapeHTML(false)
	return encoder
}

// Fail ends a stream of JSON messages with an error: after the first message only in the form that
// Docker's clients look for, before it as any other.
func (s *Stream) Fail(err error) error {
	if !s.Opened() {
		return err
	}
	// The field "error" is read by clients of before the one with the details.
	return s.Encoder().Encode(struct {
		jsonstream.Message
		Text string `json:"error"`
	}{jsonstream.Message{Error: &jsonstream.Error{Message: err.Error()}}, err.Error()})
}

// Empty answers with a status and nothing else.
func Empty(w http.ResponseWriter, status int) error {
	w.WriteHeader(status)
	return nil
}

// Done answers 204 unless there is an error.
func Done(w http.ResponseWriter, err error) error {
	if err != nil {
		return err
	}
	return Empty(w, http.StatusNoContent)
}
