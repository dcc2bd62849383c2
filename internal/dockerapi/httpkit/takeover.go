package httpkit

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types"
)

// lastWords is how long a client is given to read why its stream ends.
const lastWords = time.Second

// Takeover is a connection that stops to be HTTP and carries a process's streams
// from then on. It is taken over at the first use, not before: up to then an
// error can still be answered with its status.
type Takeover struct {
	w   http.ResponseWriter
	r   *Request
	tty bool

	once sync.Once
	conn net.Conn
	in   *bufio.Reader
	mux  Multiplexer
	err  error

	mu   sync.Mutex
	used bool
}

// NewTakeover returns a takeover of the connection that r came on, for a process with
// a terminal or without.
func NewTakeover(w http.ResponseWriter, r *Request, tty bool) *Takeover {
	return &Takeover{w: w, r: r, tty: tty}
}

// Open takes the connection over; twice is the same as once.
func (t *Takeover) Open() error {
	t.once.Do(func() {
		t.err = t.hijack()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.used = t.err == nil
	})
	return t.err
}

// Opened tells whether the connection was taken over.
func (t *Takeover) Opened() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used
}

func (t *Takeover) hijack() error {
	conn, rw, err := t.r.control.Hijack()
	if err != nil {
		return fmt.Errorf("take over the connection: %w", err)
	}
	t.conn, t.in, t.mux.to = conn, rw.Reader, conn
	var head strings.Builder
	if t.r.Header.Get("Upgrade") != "" {
		fmt.Fprintf(&head, "HTTP/1.1 101 UPGRADED\r\nContent-Type: %s\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n", StreamType(t.r.Version, t.tty))
	} else {
		fmt.Fprintf(&head, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n", types.MediaTypeRawStream)
	}
	if err := t.w.Header().Write(&head); err != nil {
		return err
	}
	head.WriteString("\r\n")
	// What held for the request does not hold for what follows.
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	_, err = io.WriteString(conn, head.String())
	return err
}

// StreamType says how a process's output is put on the wire.
func StreamType(v Version, tty bool) string {
	if tty || v < 42 {
		return types.MediaTypeRawStream
	}
	return types.MediaTypeMultiplexedStream
}

// Close ends the connection. The client first sees the end of the output.
func (t *Takeover) Close() {
	if !t.Opened() {
		return
	}
	if half, ok := t.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the client may have gone before
	}
	_ = t.conn.Close()
}

// Streams returns the client's ends of the streams asked for; nil for the others.
func (t *Takeover) Streams(stdin, stdout, stderr bool) (in io.Reader, out, errs io.Writer) {
	if stdin {
		in = takenInput{t}
	}
	if stdout {
		out = takenOutput{t, stdcopy.Stdout}
	}
	if stderr {
		errs = takenOutput{t, stdcopy.Stderr}
	}
	return in, out, errs
}

// Finish ends a takeover. An error that came before it is the answer; one that came
// after can only be told to the client in words, after prefix.
func (t *Takeover) Finish(prefix string, err error) error {
	if err == nil {
		return t.Open()
	}
	if t.Opened() {
		t.say(prefix + err.Error())
	}
	return err
}

// say writes a line of the engine's own to the client. A client that did not read
// the process's output may not read this either: then it is given up, and so is a
// write that is still waiting for the client.
func (t *Takeover) say(text string) {
	if t.conn.SetWriteDeadline(time.Now().Add(lastWords)) != nil {
		return
	}
	_, _ = takenOutput{t, stdcopy.Stderr}.Write([]byte(text + "\r\n"))
}

// takenInput reads what the client sends.
type takenInput struct{ t *Takeover }

// Read implements io.Reader.
func (i takenInput) Read(p []byte) (int, error) {
	if err := i.t.Open(); err != nil {
		return 0, err
	}
	return i.t.in.Read(p)
}

// takenOutput writes one stream to the client: framed, or on a terminal as it is.
type takenOutput struct {
	t      *Takeover
	number stdcopy.StdType
}

// Write implements io.Writer.
func (o takenOutput) Write(p []byte) (int, error) {
	if err := o.t.Open(); err != nil {
		return 0, err
	}
	if o.t.tty {
		return o.t.conn.Write(p)
	}
	return o.t.mux.Stream(o.number).Write(p)
}
