package store

import (
	"context"
	"sync"

	"github.com/linkspan/linkspan/internal/state"
)

// Feed tells those who watch a store of its commits, within one process. The zero
// value is ready.
type Feed struct {
	mu       sync.Mutex // guards watchers, and what is sent to them
	watchers map[chan state.Commit]struct{}
}

// Watch returns a channel of all commits from now on, in order. Who does not read
// misses nothing: what has come meanwhile arrives as one commit. The channel is closed
// when ctx ends.
func (f *Feed) Watch(ctx context.Context) <-chan state.Commit {
	c := make(chan state.Commit, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil {
		f.watchers = map[chan state.Commit]struct{}{}
	}
	f.watchers[c] = struct{}{}
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, c)
		close(c)
	})
	return c
}

// Publish tells of a commit, which follows the one told of last. It does not wait for
// anybody.
func (f *Feed) Publish(commit state.Commit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.watchers {
		next := commit
		select {
		case unread := <-c:
			next = unread.Then(commit)
		default:
		}
		c <- next
	}
}
