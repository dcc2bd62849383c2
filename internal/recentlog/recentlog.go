// Package recentlog keeps the last lines that a program has logged, for somebody who wants
// to know what came before.
//
// It keeps a bounded number of them in memory, and passes everything on as it came.
package recentlog

import (
	"bytes"
	"io"
	"sync"
)

const (
	maxLines = 1000
	maxLine  = 4 << 10 // bytes that are kept of one
)

// Lines is a writer that remembers. Each Write is one line, as handlers of log/slog write
// them.
type Lines struct {
	to io.Writer

	mu    sync.Mutex // guards the fields below
	lines [maxLines]string
	count int // of all there were
}

// New returns one that passes on to another writer.
func New(to io.Writer) *Lines { return &Lines{to: to} }

// Write implements io.Writer.
func (l *Lines) Write(p []byte) (int, error) {
	line := bytes.TrimRight(p, "\n")
	l.mu.Lock()
	l.lines[l.count%maxLines] = string(line[:min(len(line), maxLine)])
	l.count++
	l.mu.Unlock()
	return l.to.Write(p)
}

// Last returns the lines that are kept, the oldest first.
func (l *Lines) Last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]string, 0, min(l.count, maxLines))
	for i := l.count - cap(out); i < l.count; i++ {
		out = append(out, l.lines[i%maxLines])
	}
	return out
}
