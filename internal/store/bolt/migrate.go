package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/linkspan/linkspan/internal/store"
)

// migration rewrites the records of one version of the schema into those of the
// next. It sees nothing but the transaction, so that it can be tried again.
type migration func(tx *bbolt.Tx) error

// schema is the version that is written, and the way to it.
type schema struct {
	version uint64
	// steps lead from each version to the next, the first from 1 to 2: one fewer
	// than there are versions.
	steps []migration
}

// current returns the schema of this engine. Who raises store.Schema adds a step
// here, and a file of the version before to testdata.
func current() schema { return schema{version: store.Schema, steps: []migration{recordsJoin}} }

// versionOf returns the version that wrote a file; 0 for an empty one.
func versionOf(tx *bbolt.Tx) uint64 {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return 0
	}
	raw := meta.Get(keySchema)
	if len(raw) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(raw)
}

// check refuses a file that a newer version wrote, without changing it, and keeps
// a copy of one that an older version wrote: it is what that version needs if the
// user goes back to it.
func (s schema) check(db *bbolt.DB) error {
	if len(s.steps) != int(s.version)-1 {
		return fmt.Errorf("schema %d needs %d migrations, and there are %d", s.version, s.version-1, len(s.steps))
	}
	return db.View(func(tx *bbolt.Tx) error {
		version := versionOf(tx)
		switch {
		case version > s.version:
			return fmt.Errorf("it was written by a newer version of the engine (schema %d, this one knows %d): "+
				"install that version again, or move the data root away to begin anew", version, s.version)
		case version == 0 || version == s.version:
			return nil
		}
		return backUp(tx, fmt.Sprintf("%s.v%d", db.Path(), version))
	})
}

// backUp copies the file as the transaction sees it. The copy appears whole or
// not at all; one that is there is older, or the same, and is replaced.
func backUp(tx *bbolt.Tx, path string) (err error) {
	next, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keep a copy before the upgrade: %w", err)
	}
	_, err = tx.WriteTo(next)
	if err = errors.Join(err, next.Sync(), next.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("keep a copy before the upgrade: %w", errors.Join(err, os.Remove(path+".new")))
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a rename durable (fsync(2)).
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// migrate takes the records to the schema's version. All steps are part of the
// caller's transaction: after a failure the file is what it was.
func (s schema) migrate(tx *bbolt.Tx) error {
	if version := versionOf(tx); version != 0 {
		for i := version; i < s.version; i++ {
			if err := s.steps[i-1](tx); err != nil {
				return fmt.Errorf("upgrade from schema %d to %d: %w", i, i+1, err)
			}
		}
	}
	return tx.Bucket(bucketMeta).Put(keySchema, number(s.version))
}
