package httpkit

import (
	"encoding/binary"
	"io"
	"sync"

	"github.com/moby/moby/api/pkg/stdcopy"
)

// frameHeader is the length of what precedes every frame: the stream's number,
// three zeros, and the length of the payload in big endian.
const frameHeader = 8

// Multiplexer puts several streams on one connection, in the form that
// stdcopy.StdCopy takes apart.
type Multiplexer struct {
	mu  sync.Mutex
	to  io.Writer
	buf []byte // of the last frame, to be used again
}

// NewMultiplexer returns one that writes to a connection.
func NewMultiplexer(to io.Writer) *Multiplexer { return &Multiplexer{to: to} }

// Stream returns the writer of one stream.
func (m *Multiplexer) Stream(number stdcopy.StdType) io.Writer { return frameWriter{m, number} }

type frameWriter struct {
	m      *Multiplexer
	number stdcopy.StdType
}

// Write implements io.Writer: it sends p as one frame.
func (w frameWriter) Write(p []byte) (int, error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	frame := append(w.m.buf[:0], byte(w.number), 0, 0, 0)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(p))) //nolint:gosec // a piece of output is some KiB
	frame = append(frame, p...)
	w.m.buf = frame
	n, err := w.m.to.Write(frame)
	return max(0, min(n-frameHeader, len(p))), err
}
