package firewalld

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	// connectTime bounds all that it takes to be on the bus.
	connectTime = 10 * time.Second
	// maxMessage bounds one message, in bytes: a list of all zones has a few hundred.
	maxMessage = 1 << 20
	// maxGreeting bounds what a bus may say before it has let us in, in bytes.
	maxGreeting = 16 << 10

	defaultBus = "unix:path=/var/run/dbus/system_bus_socket"
)

// dial gets on the bus. Signals go to watch. The caller closes the connection.
func dial(ctx context.Context, address string, watch *watch) (*dbus.Conn, error) {
	path, err := socketOf(address)
	if err != nil {
		return nil, err
	}
	limit, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(limit, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to the system bus: %w", err)
	}
	deadline, _ := limit.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	conn, err := dbus.NewConn(&transport{Conn: raw}, dbus.WithSignalHandler(watch), dbus.WithContext(ctx))
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	err = conn.Auth(nil)
	if err == nil {
		err = conn.Hello()
	}
	if err == nil {
		err = raw.SetReadDeadline(time.Time{}) // signals come when they come
	}
	if err == nil {
		err = raw.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the system bus: %w", err), conn.Close())
	}
	return conn, nil
}

// socketOf returns the socket of a D-Bus address (D-Bus specification, "Server
// addresses"), the first of several that is of transport unix.
func socketOf(address string) (string, error) {
	if address == "" {
		address = os.Getenv("DBUS_SYSTEM_BUS_ADDRESS")
	}
	if address == "" {
		address = defaultBus
	}
	for one := range strings.SplitSeq(address, ";") {
		rest, unix := strings.CutPrefix(one, "unix:")
		if !unix {
			continue
		}
		for pair := range strings.SplitSeq(rest, ",") {
			key, value, _ := strings.Cut(pair, "=")
			value, err := url.PathUnescape(value)
			switch {
			case err != nil:
			case key == "path":
				return value, nil
			case key == "abstract":
				return "@" + value, nil
			}
		}
	}
	return "", fmt.Errorf("no unix socket in the address of the system bus: %q", address)
}

// transport is a connection that ends when a message on it is too large or malformed, or
// a writer has to wait too long. The library takes it ill when a message ends in the
// middle, and panics: it gets whole ones.
type transport struct {
	net.Conn
	inside  atomic.Bool // past the greeting: messages follow
	greeted int         // bytes
	message []byte      // that is being read, what was not handed on yet
}

// errTooLarge ends a connection.
var errTooLarge = errors.New("the system bus sends more than is accepted")

// Read implements io.Reader.
func (t *transport) Read(p []byte) (int, error) {
	if !t.inside.Load() {
		n, err := t.Conn.Read(p)
		if t.greeted += n; t.greeted > maxGreeting {
			return 0, errTooLarge
		}
		return n, err
	}
	if len(t.message) == 0 {
		message, err := readMessage(t.Conn)
		if err == nil {
			err = wellFormed(message)
		}
		if err != nil {
			return 0, err
		}
		t.message = message
	}
	n := copy(p, t.message)
	t.message = t.message[n:]
	return n, nil
}

// readMessage reads one message, whose length its header says (D-Bus specification,
// "Message Format").
func readMessage(r io.Reader) ([]byte, error) {
	const headerSize, align = 16, 8 // up to the length of the array of header fields
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	order, known := map[byte]binary.ByteOrder{'l': binary.LittleEndian, 'B': binary.BigEndian}[header[0]]
	if !known {
		return nil, errors.New("the system bus sends what is no message")
	}
	body, fields := uint64(order.Uint32(header[4:])), uint64(order.Uint32(header[12:]))
	rest := (fields+align-1)/align*align + body
	if rest > maxMessage {
		return nil, errTooLarge
	}
	message := append(header, make([]byte, rest)...)
	_, err := io.ReadFull(r, message[headerSize:])
	return message, err
}

// wellFormed tries to read a message as the library will. The bus has looked at what
// others send through it before us, so that lengths in it are true.
func wellFormed(message []byte) (err error) {
	defer func() {
		if failed := recover(); failed != nil {
			err = fmt.Errorf("the system bus sends a malformed message: %v", failed)
		}
	}()
	r := bytes.NewReader(message)
	if _, err = dbus.DecodeMessage(r); err == nil && r.Len() > 0 {
		err = errors.New("the system bus sends a malformed message")
	}
	return err
}

// Write implements io.Writer. What ends the greeting is the line BEGIN.
func (t *transport) Write(p []byte) (int, error) {
	if !t.inside.Load() {
		if string(p) == "BEGIN\r\n" {
			t.inside.Store(true)
		}
		return t.Conn.Write(p)
	}
	if err := t.SetWriteDeadline(time.Now().Add(connectTime)); err != nil {
		return 0, err
	}
	return t.Conn.Write(p)
}

// watch hears what concerns firewalld, and holds none of it: what happened twice
// since it was asked happened once.
type watch struct {
	news chan struct{} // holds one token while there is something to ask for

	state chan heard // holds the one there is
}

// heard is what was heard since the last time.
type heard struct {
	known    bool   // owner is what the bus has said
	owner    string // unique name of firewalld's connection; empty if it does not run
	appeared bool   // it has started since
	reloaded bool
}

func newWatch() *watch {
	w := &watch{news: make(chan struct{}, 1), state: make(chan heard, 1)}
	w.state <- heard{}
	return w
}

// DeliverSignal implements dbus.SignalHandler. Anybody may send us a signal: only
// firewalld and the bus are believed.
func (w *watch) DeliverSignal(_, _ string, s *dbus.Signal) {
	h := <-w.state
	defer func() { w.state <- h }()
	switch {
	case s.Sender == busName && s.Name == busName+".NameOwnerChanged" && len(s.Body) == 3 && s.Body[0] == service:
		owner, ok := s.Body[2].(string)
		if !ok {
			return
		}
		h.known, h.owner = true, owner
		h.appeared = h.appeared || owner != ""
	case s.Sender == h.owner && s.Path == objectPath && s.Name == service+".Reloaded":
		h.reloaded = true
	default:
		return
	}
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// owned takes in who owned the name when that was asked, unless there is later news.
func (w *watch) owned(by string) {
	h := <-w.state
	if !h.known {
		h.known, h.owner = true, by
	}
	w.state <- h
}

// take returns what was heard since it was last taken.
func (w *watch) take() heard {
	h := <-w.state
	w.state <- heard{known: h.known, owner: h.owner}
	return h
}
