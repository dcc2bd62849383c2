package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// answerLimit bounds the body of every answer but a layer's, in bytes: manifests, lists of
	// tags, tokens, errors. What is read of them is bounded again where it is known to be less.
	answerLimit = 8 << 20
	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 256 << 10
	// dialTimeout bounds the wait for a connection.
	dialTimeout = 30 * time.Second
)

// bounded is HTTP to a registry that is not trusted: no answer but a layer is longer than
// answerLimit, and a connection on which nothing moves is given up.
type bounded struct{ inner *http.Transport }

// bounded makes a transport one that has bounds, and goes by the daemon's proxies.
func (r *Registries) bounded(t *http.Transport) *bounded {
	t.Proxy = func(req *http.Request) (*url.URL, error) { return r.proxy(req.URL) }
	dialer := &net.Dialer{Timeout: min(dialTimeout, r.options.Patience), KeepAlive: 30 * time.Second}
	patience := r.options.Patience
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &patientConn{conn, patience}, nil
	}
	t.ResponseHeaderTimeout, t.MaxResponseHeaderBytes = patience, maxHeader
	return &bounded{t}
}

// RoundTrip implements http.RoundTripper. Errors are those of http.Transport, unchanged: others
// look into them.
func (b *bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.inner.RoundTrip(req)
	if err != nil || isBlob(req) {
		return resp, err
	}
	resp.Body = &shortBody{ReadCloser: resp.Body, host: req.URL.Host, left: answerLimit}
	return resp, nil
}

// CloseIdleConnections lets http.Client close what nobody uses.
func (b *bounded) CloseIdleConnections() { b.inner.CloseIdleConnections() }

// isBlob tells whether a layer was asked for, maybe of somebody that a registry has sent us to.
func isBlob(req *http.Request) bool {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/")
}

// errTooLong is what is said of an answer that does not end.
var errTooLong = errors.New("the registry's answer is too long")

// shortBody is an answer of which no more than some bytes are read.
type shortBody struct {
	io.ReadCloser
	host string
	left int64
}

// Read implements io.Reader.
func (s *shortBody) Read(p []byte) (int, error) {
	if s.left < 0 {
		return 0, fmt.Errorf("%s: %w: more than %d bytes", s.host, errTooLong, int64(answerLimit))
	}
	if int64(len(p)) > s.left+1 {
		p = p[:s.left+1]
	}
	n, err := s.ReadCloser.Read(p)
	if s.left -= int64(n); s.left < 0 {
		return n - 1, fmt.Errorf("%s: %w: more than %d bytes", s.host, errTooLong, int64(answerLimit))
	}
	return n, err
}

// patientConn is a connection that is given up if nothing moves on it, in either direction, for
// as long as patience lasts.
type patientConn struct {
	net.Conn
	patience time.Duration
}

// Read implements net.Conn.
func (c *patientConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements net.Conn. While something is sent, nobody needs to answer.
func (c *patientConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
