package httpkit

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

// WritePatience is how long a client may leave one piece of an answer unread.
const WritePatience = 2 * time.Minute

// Recorder remembers what was answered, and gives the client a deadline for
// every piece of it. The server's own WriteTimeout would count from the request,
// and answers may take any time to come.
type Recorder struct {
	http.ResponseWriter
	Status   int // 0 until the headers are sent
	Hijacked bool
}

func (r *Recorder) extend() {
	// A connection that knows no deadlines (in tests) is written to without.
	_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(time.Now().Add(WritePatience))
}

// WriteHeader implements http.ResponseWriter.
func (r *Recorder) WriteHeader(status int) {
	if r.Status == 0 {
		r.Status = status
	}
	r.extend()
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *Recorder) Write(p []byte) (int, error) {
	if r.Status == 0 {
		r.Status = http.StatusOK
	}
	r.extend()
	return r.ResponseWriter.Write(p)
}

// Hijack implements http.Hijacker.
func (r *Recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil {
		r.Hijacked = true
	}
	return conn, rw, err
}

// Unwrap lets http.ResponseController reach flushing and deadlines.
func (r *Recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
