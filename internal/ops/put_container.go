package ops

import (
	"github.com/linkspan/linkspan/internal/model"
)

// PutContainer returns the op that replaces the record of a container that is
// there; nothing is planned anew for it. It keeps its name: RenameContainer gives
// another.
func PutContainer(c model.Container) Op {
	return func(tx Tx) error {
		old, err := containerKnown(tx, c.ID)
		if err != nil {
			return err
		}
		if c.Name != old.Name {
			return model.Errorf(model.Internal, "container %s is called %s, not %s", model.Short(c.ID), old.Name, c.Name)
		}
		tx.PutContainer(c)
		return nil
	}
}
