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
