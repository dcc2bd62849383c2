// Package ocierror reads what an OCI runtime says about a process that it could not
// start: exit codes as shells and Docker have them.
package ocierror

import (
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// Exit codes of containers whose process could not be started, as shells have
// them (POSIX.1-2017, 2.8.2) and Docker's for everything else.
const (
	NotExecutable = 126
	NotFound      = 127
	Unknown       = 128
)

// ExitCode returns the exit code that stands for an error at start, and its
// kind, by the words of the OCI runtime: it has no other language.
func ExitCode(err error) (int, model.Kind) {
	text := err.Error()
	for _, c := range []struct {
		words string
		code  int
	}{
		{"executable file not found", NotFound},
		{"no such file or directory", NotFound},
		{"permission denied", NotExecutable},
		{"is a directory", NotExecutable},
		{"not a directory", NotFound}, // Docker's, mostly of a file mounted on a folder
		{"exec format error", NotExecutable},
	} {
		if strings.Contains(text, "exec") && strings.Contains(text, c.words) {
			return c.code, model.Invalid
		}
	}
	return Unknown, model.KindOf(err)
}
