// Package ocierror gives exit codes, as shells and Docker have them, to errors at the start
// of a process.
package ocierror

import (
	"errors"

	"github.com/linkspan/linkspan/internal/model"
)

// Exit codes of containers whose process could not be started, as shells have
// them (POSIX.1-2017, 2.8.2) and Docker's for everything else.
const (
	NotExecutable = 126
	NotFound      = 127
	Unknown       = 128
)

// ExitCode returns the exit code that stands for an error at start, and its kind.
func ExitCode(err error) (int, model.Kind) {
	var start *model.StartError
	if errors.As(err, &start) {
		return start.Code, model.Invalid
	}
	return Unknown, model.KindOf(err)
}
