package containerd

import (
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/status"

	"github.com/linkspan/linkspan/internal/model"
)

// Fault turns an error of containerd into one of ours, with its kind. It returns
// nil for nil.
func Fault(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	return &model.Error{Op: "runtime." + op, Subject: subject, Kind: KindOf(err), Err: Native(err)}
}

// Faultf is Fault with a text put before containerd's.
func Faultf(op, subject, before string, err error) error {
	if err == nil {
		return nil
	}
	return &model.Error{Op: "runtime." + op, Subject: subject, Kind: KindOf(err),
		Err: fmt.Errorf("%s: %w", before, Native(err))}
}

// Native takes gRPC's wrapping off an error, where there is one, so that users
// read containerd's sentence and nothing else. Parts of the client have done it
// already, and twice would lose what kind of error it is.
func Native(err error) error {
	if _, isStatus := status.FromError(err); !isStatus {
		return err
	}
	return errgrpc.ToNative(err)
}

// KindOf returns the kind of an error of containerd, or of one of ours.
func KindOf(err error) model.Kind {
	if k := model.KindOf(err); k != model.Internal {
		return k
	}
	err = Native(err)
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

// IsNotFound tells whether containerd has no such thing.
func IsNotFound(err error) bool { return err != nil && errdefs.IsNotFound(Native(err)) }

// IsGone tells whether containerd itself cannot be reached, as while it is being
// restarted.
func IsGone(err error) bool { return err != nil && errdefs.IsUnavailable(Native(err)) }

// Describe names a container in a log or an error.
func Describe(id model.ContainerID) string { return fmt.Sprintf("container %s", model.Short(id)) }
