package buildkitd

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/util/tracing"
)

// contextHost begins the name of the host at which the solver finds a context that was sent
// as the body of a request. The rest is drawn, so no Dockerfile can name another build's.
const contextHost = "build-context-"

// contexts are the bodies that wait to be read, once each. It is the transport of the
// solver's HTTP source.
type contexts struct {
	mu     sync.Mutex
	bodies map[string]io.ReadCloser
}

func newContexts() *contexts { return &contexts{bodies: map[string]io.ReadCloser{}} }

// add returns the URL of a body, and what forgets it.
func (c *contexts) add(body io.ReadCloser) (url string, forget func()) {
	host := contextHost + identity.NewID()
	c.mu.Lock()
	c.bodies[host] = body
	c.mu.Unlock()
	return "http://" + host, func() { c.take(host) }
}

func (c *contexts) take(host string) (io.ReadCloser, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, ok := c.bodies[host]
	delete(c.bodies, host)
	return body, ok
}

// RoundTrip implements http.RoundTripper.
func (c *contexts) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(r.URL.Host, contextHost) {
		return tracing.DefaultTransport.RoundTrip(r)
	}
	if r.Method != http.MethodGet {
		return nil, errors.New("a build context can only be read")
	}
	body, ok := c.take(r.URL.Host)
	if !ok {
		return nil, errors.New("the build context was read already, or its client is gone")
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: body, ContentLength: -1, Request: r,
	}, nil
}
