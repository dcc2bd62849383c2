package buildkitd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// upgrade takes a connection over for HTTP/2 without TLS (RFC 7540 section 3.2, as Docker's
// clients use it: they send HTTP/2's preface after the answer).
func upgrade(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	if proto := r.Header.Get("Upgrade"); proto != "h2c" {
		return nil, fmt.Errorf("protocol %q not supported", proto)
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &hijacked{Conn: conn, in: rw.Reader, closed: make(chan struct{})}, nil
}

// hijacked is a connection of which some may have been read already.
type hijacked struct {
	net.Conn
	in     *bufio.Reader
	once   sync.Once
	closed chan struct{}
}

// Read implements net.Conn.
func (h *hijacked) Read(p []byte) (int, error) { return h.in.Read(p) }

// Close implements net.Conn.
func (h *hijacked) Close() error {
	h.once.Do(func() { close(h.closed) })
	return h.Conn.Close()
}

// handedOver is a listener whose connections are handed to it.
type handedOver struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newHandedOver() *handedOver {
	return &handedOver{conns: make(chan net.Conn), done: make(chan struct{})}
}

// hand gives a connection to whoever accepts.
func (l *handedOver) hand(c net.Conn) error {
	select {
	case l.conns <- c:
		return nil
	case <-l.done:
		return errors.Join(net.ErrClosed, c.Close())
	}
}

// Accept implements net.Listener.
func (l *handedOver) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *handedOver) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (*handedOver) Addr() net.Addr { return &net.UnixAddr{Name: "handed over", Net: "unix"} }
