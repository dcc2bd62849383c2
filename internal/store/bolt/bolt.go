// Package bolt keeps the engine's state in one bbolt file.
//
// A commit is durable (fsync) when it returns, and happens whole or not at all.
// It decides nothing and touches nothing but its file.
package bolt

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
	"github.com/linkspan/linkspan/internal/store"
)

// The bucket beside one for each class of records, and its keys.
var (
	bucketMeta = []byte("meta")

	keySchema   = []byte("schema")
	keyInstance = []byte("instance")
	keyRevision = []byte("revision")
)

// lockTimeout is how long to wait for another process to let go of the file: a
// daemon that is replaced needs a moment to end.
const lockTimeout = 2 * time.Second

// Store is an open file.
type Store struct {
	db       *bbolt.DB
	instance string

	committing sync.Mutex // so that commits are told of in their order
	feed       store.Feed
}

// Open opens the file at path, making it and its folder if they are missing. A
// file of an older version is upgraded, and a copy of it kept beside it as
// path.v1, path.v2 and so on. It fails if the file was written by a newer
// version, or is in use.
func Open(path string) (*Store, error) { return open(path, current()) }

func open(path string, written schema) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o710); err != nil {
		return nil, err
	}
	// The list of free pages is found anew at open, in milliseconds, rather than
	// written with every commit.
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, model.Errorf(model.Conflict, "%s is in use by another process: only one daemon can have a data root", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &Store{db: db}
	err = written.check(db)
	if err == nil {
		err = db.Update(func(tx *bbolt.Tx) error { return s.prepare(tx, written) })
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return s, nil
}

// prepare makes the buckets and brings the records up to date.
func (s *Store) prepare(tx *bbolt.Tx, written schema) error {
	meta, err := tx.CreateBucketIfNotExists(bucketMeta)
	if err != nil {
		return err
	}
	for _, kind := range store.Kinds {
		if _, err := tx.CreateBucketIfNotExists([]byte(kind)); err != nil {
			return err
		}
	}
	if meta.Get(keyInstance) == nil {
		id := make([]byte, 16)
		rand.Read(id)
		if err := meta.Put(keyInstance, []byte(hex.EncodeToString(id))); err != nil {
			return err
		}
	}
	s.instance = string(meta.Get(keyInstance))
	return written.migrate(tx)
}

// Instance returns the ID of this store, drawn when it was made: 32 hexadecimal
// digits.
func (s *Store) Instance() string { return s.instance }

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Load returns the snapshot that was committed last.
func (s *Store) Load(context.Context) (*state.Snapshot, error) {
	var records []state.Change
	var revision uint64
	err := s.db.View(func(tx *bbolt.Tx) error {
		revision = revisionOf(tx)
		for _, kind := range store.Kinds {
			err := tx.Bucket([]byte(kind)).ForEach(func(id, raw []byte) error {
				v, err := store.Decode(kind, raw)
				if err != nil {
					return fmt.Errorf("%s %s: %w", kind, id, err)
				}
				records = append(records, state.Change{Kind: kind, ID: string(id), New: v})
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return state.Restore(revision, records), nil
}

// Commit writes the changes in one transaction; see engine.Store. The daemon is the
// only writer, so that a stale base means that another process writes the file in
// spite of its lock.
func (s *Store) Commit(_ context.Context, commit state.Commit) error {
	s.committing.Lock()
	defer s.committing.Unlock()
	err := s.db.Update(func(tx *bbolt.Tx) error {
		if err := commit.Check(revisionOf(tx)); err != nil {
			return err
		}
		for _, c := range commit.Changes {
			bucket := tx.Bucket([]byte(c.Kind))
			if c.New == nil {
				if err := bucket.Delete([]byte(c.ID)); err != nil {
					return err
				}
				continue
			}
			raw, err := store.Encode(c.New)
			if err != nil {
				return err
			}
			if err := bucket.Put([]byte(c.ID), raw); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keyRevision, number(commit.Revision))
	})
	if err == nil {
		s.feed.Publish(commit)
	}
	return err
}

// Watch tells of every commit from now on; see engine.Store.
func (s *Store) Watch(ctx context.Context) <-chan state.Commit { return s.feed.Watch(ctx) }

// revisionOf returns the revision that was committed last; 0 if none was.
func revisionOf(tx *bbolt.Tx) uint64 {
	if raw := tx.Bucket(bucketMeta).Get(keyRevision); raw != nil {
		return binary.BigEndian.Uint64(raw)
	}
	return 0
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
