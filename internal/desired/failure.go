package desired

import (
	"errors"
	"fmt"
)

// ErrLost is what applying rows returns, wrapped, when more is missing than the
// rows say: somebody else removed what they belong into. Only a resync helps.
var ErrLost = errors.New("more was lost than these rows")

// Failure is one row that the kernel refused, traced back to its owner. What
// applies rows returns failures joined with errors.Join.
type Failure struct {
	Owner Owner
	Key   Key
	Err   error
	// Subject says to users whom it is about: "container web on network net". Who
	// knows the model fills it in.
	Subject string
}

// Error says what could not be done for whom.
func (f *Failure) Error() string {
	if f.Subject != "" {
		return fmt.Sprintf("%s: %v", f.Subject, f.Err)
	}
	return fmt.Sprintf("%s: %s: %v", f.Owner, f.Key.Name, f.Err)
}

// Unwrap returns the kernel's error.
func (f *Failure) Unwrap() error { return f.Err }

// NameTaken is why an interface cannot get its name in a container: the container
// has made, or renamed, an interface of its own.
type NameTaken struct {
	Namespace string
	Link      string // the other end, on the host
	Name      string
}

// Error says it in Docker's words.
func (e *NameTaken) Error() string {
	return fmt.Sprintf("error renaming interface %q to %q: file exists: the container has an interface of its own with that name", e.Link, e.Name)
}

// Failures returns every *Failure in err's tree. An error that carries none
// cannot be attributed to a row.
func Failures(err error) []*Failure {
	switch e := err.(type) {
	case *Failure:
		return []*Failure{e}
	case interface{ Unwrap() error }:
		return Failures(e.Unwrap())
	case interface{ Unwrap() []error }:
		var out []*Failure
		for _, one := range e.Unwrap() {
			out = append(out, Failures(one)...)
		}
		return out
	}
	return nil
}

// Report is what a resync found and did.
type Report struct {
	Drift  []string // one line for each thing that was missing, wrong or left over
	Writes int      // changes made to the kernel; 0 if everything was as wanted
	// Torn says of a firewall that something is gone that is there whatever the rows are: a
	// table, a chain, what leads there. A change that is half done leaves those alone, so
	// that it was somebody else.
	Torn bool
}
