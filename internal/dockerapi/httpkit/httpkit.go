// Package httpkit is what the handlers of the Docker Engine API have in common: reading
// requests, answering, streaming and taking connections over.
//
//	*http.Request ─▶ NewRequest ─▶ Handler ─▶ WriteJSON, Stream, Takeover
//	                                  │
//	                                  ╰─ error ─▶ WriteError
//
// It promises that bodies, forms, names and waiting for a client are bounded, and it
// has the one table from errors to statuses. It must not know what a request is for.
package httpkit

import (
	"net/http"

	"github.com/linkspan/linkspan/internal/model"
)

// Handler answers one request. An error it returns becomes the answer, unless
// something was sent before.
type Handler func(w http.ResponseWriter, r *Request) error

// Routes are handlers by patterns of net/http.ServeMux.
type Routes map[string]Handler

// Unsupported returns the handler of what Docker has and this engine has not.
func Unsupported(words string) Handler {
	return func(http.ResponseWriter, *Request) error { return model.Errorf(model.NotImplemented, "%s", words) }
}
