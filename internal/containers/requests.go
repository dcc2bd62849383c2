package containers

import (
	"github.com/linkspan/linkspan/internal/containers/exec"
	"github.com/linkspan/linkspan/internal/containers/reader"
	"github.com/linkspan/linkspan/internal/containers/streams"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// ErrDetached is what Attach and StartExec return when the user typed the detach
// keys: the process goes on, and nothing is wrong.
var ErrDetached = streams.ErrDetached

// CreateRequest asks for a container.
type CreateRequest = containerspec.Request

// StopOptions say how to end a container. Signal empty means the container's
// own; Timeout nil means the container's own, in seconds, below 0 is for ever.
type StopOptions struct {
	Signal  string
	Timeout *int

	unasked bool // by the daemon: the restart policy stays in force
}

// RemoveOptions say what goes with a container. Volumes removes its anonymous
// volumes.
type RemoveOptions struct {
	Force, Volumes bool
}

// AttachOptions say which streams to attach. Logs replays what was written so
// far; without Stream that is all. DetachKeys empty means ctrl-p,ctrl-q. Ready,
// if not nil, is called once nothing that the container writes from then on can
// escape the client: whoever starts the container waits for that.
type AttachOptions struct {
	Stdin, Stdout, Stderr, Stream, Logs bool
	DetachKeys                          string
	Ready                               func()
}

// Streams are a client's ends.
type Streams = streams.Client

// ExecStart says how to start an exec.
type ExecStart = exec.Start

// refuse is the refusal of a request that cannot be meant.
func refuse(words string) error { return model.Errorf(model.Invalid, "%s", words) }

// What readers are asked, and what they need; see package reader.
type (
	ListOptions = reader.ListOptions
	LogOptions  = reader.LogOptions
	Filters     = reader.Filters
	Images      = reader.Images
	Sizes       = reader.Sizes
	Logs        = reader.Logs
	LogEntry    = reader.LogEntry
	LogQuery    = reader.LogQuery
	LogReader   = reader.LogReader
)
