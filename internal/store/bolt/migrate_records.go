package bolt

import (
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
	"github.com/linkspan/linkspan/internal/store"
)

// bucketRecords held containers' records in schema 1, which were written by
// transactions of their own.
var bucketRecords = []byte("containers")

// recordsJoin leads from schema 1 to 2: containers' records become part of the state.
// Where a daemon was killed in the middle of a rename, the container has the name that
// its record says.
func recordsJoin(tx *bbolt.Tx) error {
	old := tx.Bucket(bucketRecords)
	if old == nil {
		return nil
	}
	names := map[model.ContainerID]string{}
	err := old.ForEach(func(id, document []byte) error {
		var known struct{ Name string }
		if err := json.Unmarshal(document, &known); err != nil {
			return fmt.Errorf("record of container %s: %w", id, err)
		}
		c := model.Container{ID: model.ContainerID(id), Name: known.Name, Document: document}
		names[c.ID] = c.Name
		return putRecord(tx, state.KindContainer, id, c)
	})
	if err != nil {
		return err
	}
	if err := nameSandboxes(tx, names); err != nil {
		return err
	}
	return tx.DeleteBucket(bucketRecords)
}

// nameSandboxes gives sandboxes the names of their containers.
func nameSandboxes(tx *bbolt.Tx, names map[model.ContainerID]string) error {
	var wrong []model.Sandbox // a bucket must not change while it is gone through
	err := tx.Bucket([]byte(state.KindSandbox)).ForEach(func(id, raw []byte) error {
		v, err := store.Decode(state.KindSandbox, raw)
		if err != nil {
			return fmt.Errorf("sandbox %s: %w", id, err)
		}
		if sb, _ := v.(model.Sandbox); names[sb.Container] != "" && names[sb.Container] != sb.Name {
			wrong = append(wrong, sb)
		}
		return nil
	})
	for _, sb := range wrong {
		if err == nil {
			sb.Name = names[sb.Container]
			err = putRecord(tx, state.KindSandbox, []byte(sb.ID), sb)
		}
	}
	return err
}

func putRecord(tx *bbolt.Tx, kind state.Kind, id []byte, record any) error {
	raw, err := store.Encode(record)
	if err != nil {
		return err
	}
	return tx.Bucket([]byte(kind)).Put(id, raw)
}
