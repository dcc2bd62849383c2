package ops

import (
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// NameTaken returns the refusal of a container's name that another than id has,
// nil if nobody has it.
func NameTaken(s *state.Snapshot, name string, id model.ContainerID) error {
	holder, taken := s.ContainerNamed(name)
	if !taken || holder.ID == id {
		return nil
	}
	return model.Errorf(model.Conflict, "Conflict. The container name %q is already in use by container %q. "+
		"You have to remove (or rename) that container to be able to reuse that name.", "/"+name, holder.ID)
}

// putContainer stores a record whose name nobody else has.
func putContainer(tx Tx, c model.Container) error {
	if err := NameTaken(tx.View(), c.Name, c.ID); err != nil {
		return err
	}
	tx.PutContainer(c)
	return nil
}

func containerKnown(tx Tx, id model.ContainerID) (model.Container, error) {
	c, ok := tx.View().Container(id)
	if !ok {
		return c, model.Errorf(model.NotFound, "No such container: %s", id)
	}
	return c, nil
}
