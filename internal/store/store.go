// Package store holds what the stores of the engine share: the schema and the
// written form of records.
//
// A store keeps records and knows nothing of what they mean. Its packages are
// bolt (one file, the default) and mem (tests).
package store

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Schema is the version of the written form. A store that holds a newer one is
// refused, since going on would lose what this engine does not understand.
const Schema = 2

// Kinds are the classes of records that the engine keeps.
var Kinds = []state.Kind{state.KindHost, state.KindNetwork, state.KindContainer, state.KindSandbox, state.KindEndpoint, state.KindCursor}

// Encode returns the written form of a record.
func Encode(record any) ([]byte, error) {
	if c, ok := record.(model.Container); ok {
		return json.Marshal(container{c.ID, c.Name, c.Document})
	}
	return json.Marshal(record)
}

// container is the written form of a model.Container: its document is not packed
// once more.
type container struct {
	ID       model.ContainerID
	Name     string
	Document json.RawMessage
}

// Decode reads a record of the given class.
func Decode(kind state.Kind, raw []byte) (any, error) {
	switch kind {
	case state.KindHost:
		return decode[model.Host](raw)
	case state.KindNetwork:
		return decode[model.Network](raw)
	case state.KindContainer:
		v, err := decode[container](raw)
		c, _ := v.(container)
		return model.Container{ID: c.ID, Name: c.Name, Document: c.Document}, err
	case state.KindSandbox:
		return decode[model.Sandbox](raw)
	case state.KindEndpoint:
		return decode[model.Endpoint](raw)
	case state.KindCursor:
		return decode[netip.Addr](raw)
	}
	return nil, fmt.Errorf("records of class %q are unknown", kind)
}

func decode[T any](raw []byte) (any, error) {
	var v T
	err := json.Unmarshal(raw, &v)
	return v, err
}
