package streams

import (
	"context"
	"io"
	"sync"
)

// Stdin is a container's input for those attached to it. It outlives runs:
// `docker run` attaches before start.
type Stdin struct {
	mu      sync.Mutex
	to      io.WriteCloser // nil while there is none
	changed chan struct{}  // closed when to is replaced
}

// NewStdin returns one without a process.
func NewStdin() *Stdin { return &Stdin{changed: make(chan struct{})} }

// Set gives the input of a new run; nil when it has ended.
func (s *Stdin) Set(to io.WriteCloser) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = to
	close(s.changed)
	s.changed = make(chan struct{})
}

// Wait waits until there is an input and returns it.
func (s *Stdin) Wait(ctx context.Context) (io.WriteCloser, error) {
	for {
		s.mu.Lock()
		to, changed := s.to, s.changed
		s.mu.Unlock()
		if to != nil {
			return to, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
