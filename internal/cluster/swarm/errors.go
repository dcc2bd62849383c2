package swarm

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/linkspan/linkspan/internal/model"
)

// Docker's words for requests that only a manager answers.
const (
	notInSwarm = `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`
	notReady   = "This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster."
	onlyWorker = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager."
	locked     = `Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.`
	expired    = "Swarm certificates have expired. To replace them, leave the swarm and join again."
)

// NoManager is the answer of a host that is of no swarm to requests for a manager.
func NoManager() error { return model.Errorf(model.Unavailable, "%s", notInSwarm) }

// OnlyManagers is the answer of a worker to them.
func OnlyManagers() error { return model.Errorf(model.Unavailable, "%s", onlyWorker) }

// errLocked says that the node's key is needed.
func errLocked() error { return model.Errorf(model.Unavailable, "%s", locked) }

func isLocked(err error) bool { return err != nil && err.Error() == locked }

// kinds are what gRPC's codes mean, as Docker maps them to statuses.
var kinds = map[codes.Code]model.Kind{
	codes.InvalidArgument: model.Invalid, codes.FailedPrecondition: model.Invalid, codes.OutOfRange: model.Invalid,
	codes.NotFound: model.NotFound, codes.AlreadyExists: model.Conflict, codes.PermissionDenied: model.Forbidden,
	codes.Unauthenticated: model.Unauthorized, codes.Unimplemented: model.NotImplemented, codes.Unavailable: model.Unavailable,
	codes.Unknown: model.Unfit,
}

// failure returns an error of swarmkit as one of ours, with its own text, as Docker
// shows it.
func failure(err error) error {
	var own *model.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	if strings.Contains(err.Error(), "certificate has expired") || strings.Contains(err.Error(), "certificate - ") && strings.Contains(err.Error(), "expired") {
		return &model.Error{Kind: model.Unavailable, Err: errors.New(expired), Who: err.Error()}
	}
	s, ok := status.FromError(err)
	if !ok {
		return model.Errorf(model.Unfit, "%w", err)
	}
	return model.Errorf(kinds[s.Code()], "%w", err) // Internal unless it is listed
}
