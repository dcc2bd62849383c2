package dockerapi

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/model"
)

// dialWebsocket attaches to c1, as a page of origin.
func dialWebsocket(t *testing.T, server *httptest.Server, version, query, origin string) (*websocket.Conn, error) {
	t.Helper()
	c, err := websocket.NewConfig("ws"+strings.TrimPrefix(server.URL, "http")+"/"+version+"/containers/c1/attach/ws?"+query, origin)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := websocket.DialConfig(c)
	if err == nil {
		t.Cleanup(func() { conn.Close() })
		err = conn.SetDeadline(time.Now().Add(patience))
	}
	return conn, err
}

// echoLine writes to both outputs, then the first line that it reads.
func echoLine(_ context.Context, s containerhub.Streams) error {
	for _, out := range []io.Writer{s.Stderr, s.Stdout} {
		if _, err := io.WriteString(out, "ready\n"); err != nil {
			return err
		}
	}
	line := make([]byte, 6)
	if _, err := io.ReadFull(s.Stdin, line); err != nil {
		return err
	}
	_, err := s.Stdout.Write(line)
	return err
}

func TestAttachWebsocket(t *testing.T) {
	for _, c := range []struct{ version, query string }{{"v1.56", "stream=1&stdin=1&stdout=1&stderr=1"}, {"v1.41", "stream=1"}} {
		b := newBench(t)
		b.output = echoLine
		server := httptest.NewServer(b)
		defer server.Close()
		conn, err := dialWebsocket(t, server, c.version, c.query, server.URL)
		if err != nil {
			t.Fatal(c.version, err)
		}
		if _, err := io.WriteString(conn, "hello\n"); err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(conn)
		if err != nil || string(said) != "ready\nready\nhello\n" {
			t.Errorf("%s: %q, %v", c.version, said, err)
		}
		if !strings.Contains(b.noted(), "Stdin:true Stdout:true Stderr:true Stream:true") {
			t.Errorf("%s: %s", c.version, b.noted())
		}
	}
}

// TestAttachWebsocketFails: what fails after the client was told that it is attached is said.
func TestAttachWebsocketFails(t *testing.T) {
	b := newBench(t)
	server := httptest.NewServer(b)
	defer server.Close()
	b.output = func(_ context.Context, s containerhub.Streams) error {
		_, _ = io.WriteString(s.Stdout, "half ")
		return errors.New("the rest is lost")
	}
	conn, err := dialWebsocket(t, server, "v1.56", "stdout=1&stream=1", server.URL)
	if err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(conn)
	if string(said) != "half Error attaching: the rest is lost\r\n" {
		t.Errorf("%q", said)
	}
}

// TestWebsocketIsRefused: what is no handshake, or not a page's of our own, is answered and attaches nothing.
func TestWebsocketIsRefused(t *testing.T) {
	const asks = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
	for _, c := range []struct {
		head   string
		err    error
		status int
		text   string
	}{
		{"", nil, 400, "asks for no websocket"},
		{asks + "Origin: http://elsewhere.example\r\n", nil, 403, "a page of"},
		{asks, model.Errorf(model.NotFound, "No such container: c1"), 404, "No such container: c1"},
		{asks, nil, 400, ""},
		{asks + "Sec-WebSocket-Version: 12\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", nil, 400, ""},
	} {
		b := newBench(t)
		b.output, b.err = echoLine, c.err
		_, _, answer := dial(t, b, "GET /containers/c1/attach/ws?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: x\r\n"+c.head+"\r\n")
		text, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != c.status || !strings.Contains(string(text), c.text) {
			t.Errorf("%q: %s %s", c.head, answer.Status, text)
		}
	}
}
