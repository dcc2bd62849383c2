package plugins

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// mimeType is the version of the protocol that is spoken.
const mimeType = "application/vnd.docker.plugins.v1.2+json"

// localName is what plugins behind a socket are told that they are called.
const localName = "plugin.moby.localhost"

const (
	// maxAnswer bounds an answer, maxHeader its header, in bytes.
	maxAnswer = 1 << 20
	maxHeader = 64 << 10
	// callTimeout bounds one call whose caller has more time.
	callTimeout = 30 * time.Second
	// dialTimeout bounds one attempt to reach a plugin.
	dialTimeout = 5 * time.Second
	// firstPause and lastPause are between attempts to reach a plugin.
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// StatusError is an answer that is not 200 OK.
type StatusError struct {
	Status       int
	Method, Text string
}

// Error implements error, in Docker's words.
func (e *StatusError) Error() string { return e.Method + ": " + e.Text }

// GarbledError is an answer that is none.
type GarbledError struct {
	Method string
	Err    error
}

// Error implements error.
func (e *GarbledError) Error() string {
	return e.Method + ": the plugin's answer is not understood: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *GarbledError) Unwrap() error { return e.Err }

// Lacks tells whether a plugin does not have the method that it was asked for.
func Lacks(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Status == http.StatusNotFound
}

// UnreachableError is the error of a call that did not reach its plugin, which therefore does
// not know of it.
type UnreachableError struct{ Err error }

// Error implements error.
func (e *UnreachableError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Away tells whether an error is that a plugin was not there to be asked.
func Away(err error) bool {
	var away *UnreachableError
	return errors.As(err, &away) || model.KindOf(err) == model.NotFound
}

// client speaks with one plugin. Every call has a connection of its own, so that none is
// made by one that died with the plugin before.
type client struct {
	base string
	http *http.Client
}

func newClient(a Address) (*client, error) {
	u, err := url.Parse(a.URL)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader, DisableCompression: true}
	c := &client{base: "http://" + u.Host, http: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
	dialer := net.Dialer{Timeout: dialTimeout}
	network, at := "tcp", u.Host
	switch u.Scheme {
	case "unix":
		network, at, c.base = "unix", u.Path, "http://"+localName
	case "https":
		c.base = "https://" + u.Host
		if t.TLSClientConfig, err = a.TLS.config(); err != nil {
			return nil, err
		}
		if u.Port() == "" {
			at = net.JoinHostPort(u.Hostname(), "443")
		}
	default:
		if u.Port() == "" {
			at = net.JoinHostPort(u.Hostname(), "80")
		}
	}
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, at)
		if err != nil {
			return nil, &UnreachableError{err}
		}
		return conn, nil
	}
	return c, nil
}

// config returns what is spoken by https; without any settings the system's.
func (t *TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t == nil {
		c.InsecureSkipVerify = true // as with Docker: nobody says whom to trust
		return c, nil
	}
	c.InsecureSkipVerify = t.InsecureSkipVerify
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("could not read CA certificate %q: %w", t.CAFile, err)
		}
		if c.RootCAs, err = x509.SystemCertPool(); err != nil {
			c.RootCAs = x509.NewCertPool()
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("failed to append certificates from PEM file: %q", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("could not load X509 key pair: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// call makes one call. What cannot be reached is tried again for patience; what was
// reached is asked once, since it may have done what it did not answer.
func (c *client) call(ctx context.Context, patience time.Duration, method string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	end := time.Now().Add(patience)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := c.once(ctx, method, body, out)
		var away *UnreachableError
		if !errors.As(err, &away) || time.Now().Add(pause).After(end) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

func (c *client) once(ctx context.Context, method string, body []byte, out any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Accept", mimeType)
	r.Header.Set("Content-Type", mimeType)
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", method, err)
	case len(raw) > maxAnswer:
		return &GarbledError{method, fmt.Errorf("it is longer than %d bytes", maxAnswer)}
	}
	return understand(method, answer.StatusCode, raw, out)
}

// maxSaid bounds what is repeated of an answer in an error, in bytes.
const maxSaid = 4096

// understand reads an answer: of a refusal its words, of any other what it says.
func understand(method string, status int, raw []byte, out any) error {
	if status != http.StatusOK {
		var refusal struct{ Err string }
		text := string(raw)
		if json.Unmarshal(raw, &refusal) == nil && refusal.Err != "" {
			text = refusal.Err
		}
		return &StatusError{status, method, Said(text)}
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(out); err != nil {
		return &GarbledError{method, err}
	}
	return nil
}

// Said returns what a plugin said, to be shown: a bounded part of it, without what would
// do something to a terminal.
func Said(text string) string {
	lines := strings.Split(text[:min(len(text), maxSaid)], "\n")
	for i, line := range lines {
		lines[i] = model.Printable(line)
	}
	return strings.Join(lines, "\n")
}
