package ops

import (
	"github.com/linkspan/linkspan/internal/model"
)

// RenameContainer returns the op for `docker rename`: the container's record is
// replaced by c, which has the new name, and its sandbox answers to that name on
// all its networks, and to the old one no more. A name that another container has
// is refused with Conflict.
func RenameContainer(c model.Container) Op {
	return func(tx Tx) error {
		if _, err := containerKnown(tx, c.ID); err != nil {
			return err
		}
		if err := putContainer(tx, c); err != nil {
			return withPrefix("Error when allocating new name: ", err)
		}
		if sb, ok := tx.View().SandboxOf(c.ID); ok {
			return RenameSandbox(sb.ID, c.Name)(tx)
		}
		return nil
	}
}
