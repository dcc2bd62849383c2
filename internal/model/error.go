package model

import (
	"errors"
	"fmt"
	"strings"
)

// Kind classes an error for machines; doors map it to a status in one table.
type Kind uint8

// The kinds, named after what the caller can do about them.
const (
	Internal    Kind = iota // our fault or the kernel's
	Invalid                 // the request is malformed
	NotFound                // what it names is not there
	Conflict                // it collides with what is there
	Forbidden               // it is well-formed and refused
	NotModified             // it is already so
	Unavailable             // try again later
	NotImplemented
	Unfit        // it does not fit what is there, and Docker answers as if the fault were its own
	Unauthorized // who asks is not known, or not believed
)

// Error is the one error type of the engine. Err carries Docker's own words,
// which clients match on; Who, Why and Way are added after them.
type Error struct {
	Op      string // "network.create"; for logs, never printed to a user
	Subject string // "network web"; for logs
	Kind    Kind
	Err     error  // Docker's text
	Who     string // who holds what was asked for
	Way     string // what the user can do
}

// Error returns Docker's text, then the owner and the way out, each on its own
// line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	} else {
		b.WriteString(strings.TrimSpace(e.Op + " " + e.Subject))
	}
	for _, more := range []string{e.Who, e.Way} {
		if more != "" {
			b.WriteString("\n")
			b.WriteString(more)
		}
	}
	return b.String()
}

// Unwrap returns the wrapped error.
func (e *Error) Unwrap() error { return e.Err }

// StartError is why a program could not be started. Code is what a shell would have ended
// with: 127 for a program that is not there, 126 for one that cannot be executed.
type StartError struct {
	Code int
	Err  error
}

// Error implements error.
func (e *StartError) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *StartError) Unwrap() error { return e.Err }

// Errorf returns an error of kind k with a text formed as by fmt.Errorf.
func Errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Err: fmt.Errorf(format, args...)}
}

// KindOf returns the kind of the innermost *Error in err's chain, as Docker
// decides status codes; Internal if there is none.
func KindOf(err error) Kind {
	kind := Internal
	for {
		var e *Error
		if !errors.As(err, &e) {
			return kind
		}
		if e.Kind != Internal {
			kind = e.Kind
		}
		err = e.Err
	}
}
