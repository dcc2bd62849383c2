package ops

import (
	"github.com/linkspan/linkspan/internal/model"
)

// CreateContainer returns the op that records a container that is new. If it has
// a network life of its own, that is CreateSandbox's, in the same turn (see All).
// A name that another container has is refused with Conflict.
func CreateContainer(c model.Container) Op {
	return func(tx Tx) error {
		if _, exists := tx.View().Container(c.ID); exists {
			return model.Errorf(model.Conflict, "container %s exists already", model.Short(c.ID))
		}
		return putContainer(tx, c)
	}
}
