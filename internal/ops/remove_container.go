package ops

import (
	"github.com/linkspan/linkspan/internal/model"
)

// RemoveContainer returns the op for `docker rm`: the container's record and its
// sandbox, with its memberships, links and claims, are forgotten. One that is gone
// already is success.
func RemoveContainer(id model.ContainerID) Op {
	return func(tx Tx) error {
		tx.DeleteContainer(id)
		if sb, ok := tx.View().SandboxOf(id); ok {
			return RemoveSandbox(sb.ID)(tx)
		}
		return nil
	}
}

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
