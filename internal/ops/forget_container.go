package ops

import (
	"github.com/linkspan/linkspan/internal/model"
)

// ForgetContainer returns the op that forgets the record of a container and not
// its sandbox: the kernel does not let go of that at the moment, and it is to be
// removed later. The name is free for others at once. Nothing is planned anew. One
// that is gone already is success.
func ForgetContainer(id model.ContainerID) Op {
	return func(tx Tx) error {
		tx.DeleteContainer(id)
		return nil
	}
}
