package httpkit

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"

	"github.com/linkspan/linkspan/internal/model"
)

// Websocket is a connection that carries a process's streams in the frames of RFC 6455, which browsers can speak. As a
// Takeover it is taken over at the first use: up to then an error can still be answered with its status.
type Websocket struct {
	w http.ResponseWriter
	r *Request

	once sync.Once
	conn *websocket.Conn
	err  error
	done chan struct{} // closed when nobody uses conn any more
}

// NewWebsocket returns the websocket that r asks for. Errors: Invalid if it asks for none, Forbidden if a page of another
// site asks, which its user's browser would let do that (RFC 6455, 10.2).
func NewWebsocket(w http.ResponseWriter, r *Request) (*Websocket, error) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return nil, model.Errorf(model.Invalid, "the request asks for no websocket: it has no header \"Upgrade: websocket\"")
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		from, err := url.Parse(origin)
		if err != nil || !strings.EqualFold(from.Host, r.Host) {
			return nil, model.Errorf(model.Forbidden, "a page of %q may not attach to containers of %q", origin, r.Host)
		}
	}
	return &Websocket{w: w, r: r, done: make(chan struct{})}, nil
}

// Open takes the connection over; twice is the same as once.
func (s *Websocket) Open() error {
	s.once.Do(func() { s.err = s.open() })
	return s.err
}

func (s *Websocket) open() error {
	conn, rw, err := s.r.control.Hijack()
	if err != nil {
		return fmt.Errorf("take over the connection: %w", err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil { // what held for the request does not hold for what follows
		return err
	}
	opened, refused := make(chan *websocket.Conn, 1), make(chan struct{})
	server := websocket.Server{Handler: func(c *websocket.Conn) {
		opened <- c
		<-s.done
	}}
	go func() {
		defer close(refused)
		server.ServeHTTP(hijacked{s.w, conn, rw}, s.r.Request)
	}()
	select {
	case s.conn = <-opened:
	case <-refused: // the client was told
		return model.Errorf(model.Invalid, "the handshake of the websocket is not that of RFC 6455")
	}
	if s.r.Version >= 28 {
		s.conn.PayloadType = websocket.BinaryFrame
	}
	return nil
}

// neverOpen keeps what was not opened from being so.
func (s *Websocket) neverOpen() { s.once.Do(func() { s.err = net.ErrClosed }) }

// Close ends the connection, and says so to the client.
func (s *Websocket) Close() {
	defer close(s.done)
	s.neverOpen()
	if s.conn != nil && s.conn.SetWriteDeadline(time.Now().Add(lastWords)) == nil {
		_ = s.conn.Close() // the client may have gone before
	}
}

// Finish ends an attachment. An error that came before the websocket is the answer; one that came after can only be
// told to the client in words, after prefix.
func (s *Websocket) Finish(prefix string, err error) error {
	if err == nil {
		return s.Open()
	}
	s.neverOpen()
	if s.conn != nil && s.conn.SetWriteDeadline(time.Now().Add(lastWords)) == nil {
		_, _ = io.WriteString(s.conn, prefix+err.Error()+"\r\n")
	}
	return err
}

// Read reads what the client sends. It implements io.Reader.
func (s *Websocket) Read(p []byte) (int, error) {
	if err := s.Open(); err != nil {
		return 0, err
	}
	return s.conn.Read(p)
}

// Write sends p to the client as one message. It implements io.Writer, for several writers at a time.
func (s *Websocket) Write(p []byte) (int, error) {
	if err := s.Open(); err != nil {
		return 0, err
	}
	return s.conn.Write(p)
}

// hijacked is the answer on a connection that was taken over already. The websocket package would end the program if
// that failed.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
	rw   *bufio.ReadWriter
}

// Hijack implements http.Hijacker.
func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.conn, h.rw, nil }
