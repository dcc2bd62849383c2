package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

// answerLimit is how much of an answer is read, in bytes.
const answerLimit = 4 << 20

// api speaks the Engine API over a unix socket, without a docker client's own ideas, or its start, in between.
type api struct {
	socket string
	client http.Client
}

func newAPI(socket string) *api {
	a := &api{socket: socket}
	a.client.Transport = &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dial(ctx) },
		MaxIdleConnsPerHost: chaosClients,
	}
	return a
}

func (a *api) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", a.socket)
}

// reply is an answer, or why there was none.
type reply struct {
	status int
	body   []byte
	err    error
}

// ask sends a request; body is sent as JSON, unless it is nil. When ctx ends in the middle of an answer, what had come
// by then is the answer.
func (a *api) ask(ctx context.Context, method, path string, body any) reply {
	var text io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return reply{err: err}
		}
		text = bytes.NewReader(raw)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://engine"+path, text)
	if err != nil {
		return reply{err: err}
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := a.client.Do(request)
	if err != nil {
		return reply{err: err}
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, answerLimit))
	if ctx.Err() != nil {
		err = nil
	}
	return reply{status: answer.StatusCode, body: raw, err: err}
}

// into asks, wants success, and decodes the answer.
func (a *api) into(ctx context.Context, method, path string, body, result any) error {
	r := a.ask(ctx, method, path, body)
	switch {
	case r.err != nil:
		return r.err
	case r.status >= http.StatusBadRequest:
		return fmt.Errorf("%s %s: %d: %s", method, path, r.status, bytes.TrimSpace(r.body))
	case result == nil:
		return nil
	}
	return json.Unmarshal(r.body, result)
}

// upgrade takes a connection over, as docker attach does, reads from it until ctx ends, and leaves without a word.
func (a *api) upgrade(ctx context.Context, path string) reply {
	conn, err := a.dial(ctx)
	if err != nil {
		return reply{err: err}
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return reply{err: err}
		}
	}
	const head = "POST %s HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	if _, err := fmt.Fprintf(conn, head, path); err != nil {
		return reply{err: err}
	}
	raw, err := io.ReadAll(io.LimitReader(conn, answerLimit))
	late := errors.Is(err, os.ErrDeadlineExceeded)
	if late {
		err = nil
	}
	line, _, _ := strings.Cut(string(raw), "\r\n")
	status := 0
	if _, scanned := fmt.Sscanf(line, "HTTP/1.1 %d", &status); scanned != nil && err == nil && !late {
		err = io.ErrUnexpectedEOF
	}
	return reply{status: status, body: raw, err: err}
}
