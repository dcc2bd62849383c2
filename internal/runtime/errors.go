package runtime

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/status"

	"github.com/linkspan/linkspan/internal/model"
)

// fault turns an error of containerd into one of ours, with its kind. It returns
// nil for nil.
func fault(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	return &model.Error{Op: "runtime." + op, Subject: subject, Kind: kindOf(err), Err: native(err)}
}

// faultf is fault with a text put before containerd's.
func faultf(op, subject, before string, err error) error {
	if err == nil {
		return nil
	}
	return &model.Error{Op: "runtime." + op, Subject: subject, Kind: kindOf(err),
		Err: fmt.Errorf("%s: %w", before, native(err))}
}

// native takes gRPC's wrapping off an error, where there is one, so that users
// read containerd's sentence and nothing else. Parts of the client have done it
// already, and twice would lose what kind of error it is.
func native(err error) error {
	if _, isStatus := status.FromError(err); !isStatus {
		return err
	}
	return errgrpc.ToNative(err)
}

func kindOf(err error) model.Kind {
	if k := model.KindOf(err); k != model.Internal {
		return k
	}
	err = native(err)
	switch {
	case errdefs.IsNotFound(err), saysEnded(err):
		return model.NotFound
	case errdefs.IsAlreadyExists(err), errdefs.IsFailedPrecondition(err), errdefs.IsConflict(err):
		return model.Conflict
	case errdefs.IsInvalidArgument(err):
		return model.Invalid
	case errdefs.IsUnavailable(err):
		return model.Unavailable
	case errdefs.IsNotImplemented(err):
		return model.NotImplemented
	}
	return model.Internal
}

// saysEnded tells whether a shim refuses because the process has ended. It says so
// in words only.
func saysEnded(err error) bool {
	for _, words := range []string{"in a stopped state", "in a deleted state", "a stopped container", "a deleted process"} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return false
}

func isNotFound(err error) bool { return err != nil && errdefs.IsNotFound(native(err)) }

// isGone tells whether containerd itself cannot be reached, as while it is being
// restarted.
func isGone(err error) bool { return err != nil && errdefs.IsUnavailable(native(err)) }

// describe names a container in a log or an error.
func describe(id model.ContainerID) string { return fmt.Sprintf("container %s", model.Short(id)) }
