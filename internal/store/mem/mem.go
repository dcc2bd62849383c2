// Package mem keeps the engine's state in memory, in its written form, for
// tests. It can be told to fail.
package mem

import (
	"context"
	"sync"

	"github.com/linkspan/linkspan/internal/state"
	"github.com/linkspan/linkspan/internal/store"
)

// Store is a store without a file. The zero value is empty and ready.
type Store struct {
	// Fail, when it is set and returns an error, is the outcome of a commit.
	Fail func() error

	feed     store.Feed
	mu       sync.Mutex // guards what follows
	revision uint64
	records  map[state.Kind]map[string][]byte
}

// Load returns the snapshot that was committed last.
func (s *Store) Load(context.Context) (*state.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []state.Change
	for _, kind := range store.Kinds {
		for id, raw := range s.records[kind] {
			v, err := store.Decode(kind, raw)
			if err != nil {
				return nil, err
			}
			out = append(out, state.Change{Kind: kind, ID: id, New: v})
		}
	}
	return state.Restore(s.revision, out), nil
}

// Commit stores the changes, all or none; see engine.Store.
func (s *Store) Commit(_ context.Context, commit state.Commit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Fail != nil {
		if err := s.Fail(); err != nil {
			return err
		}
	}
	if err := commit.Check(s.revision); err != nil {
		return err
	}
	written := make([][]byte, len(commit.Changes))
	for i, c := range commit.Changes {
		if c.New == nil {
			continue
		}
		raw, err := store.Encode(c.New)
		if err != nil {
			return err
		}
		written[i] = raw
	}
	if s.records == nil {
		s.records = map[state.Kind]map[string][]byte{}
	}
	for i, c := range commit.Changes {
		if s.records[c.Kind] == nil {
			s.records[c.Kind] = map[string][]byte{}
		}
		if c.New == nil {
			delete(s.records[c.Kind], c.ID)
		} else {
			s.records[c.Kind][c.ID] = written[i]
		}
	}
	s.revision = commit.Revision
	s.feed.Publish(commit)
	return nil
}

// Watch tells of every commit from now on; see engine.Store.
func (s *Store) Watch(ctx context.Context) <-chan state.Commit { return s.feed.Watch(ctx) }
