package dockerapi

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

// writePatience is how long a client may leave one piece of an answer unread.
const writePatience = 2 * time.Minute

// recorder remembers what was answered, and gives the client a deadline for
// every piece of it. The server's own WriteTimeout would count from the request,
// and answers may take any time to come.
type recorder struct {
	http.ResponseWriter
	status   int // 0 until the headers are sent
	hijacked bool
}

func (r *recorder) extend() {
	// A connection that knows no deadlines (in tests) is written to without.
	_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(time.Now().Add(writePatience))
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.extend()
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	r.extend()
	return r.ResponseWriter.Write(p)
}

// Hijack implements http.Hijacker.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil {
		r.hijacked = true
	}
	return conn, rw, err
}

// Unwrap lets http.ResponseController reach flushing and deadlines.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
