package wire

import (
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// ErrorKind is a kind of errors by its name. Names are never changed.
type ErrorKind string

// named pairs a kind with its name.
type named[K any] struct {
	kind K
	name string
}

// errorKinds names the kinds of errors. A place in the list is the number by which
// version 1 knows the kind: the list is only ever added to.
func errorKinds() []named[model.Kind] {
	return []named[model.Kind]{
		{model.Internal, "internal"},
		{model.Invalid, "invalid"},
		{model.NotFound, "not-found"},
		{model.Conflict, "conflict"},
		{model.Forbidden, "forbidden"},
		{model.NotModified, "not-modified"},
		{model.Unavailable, "unavailable"},
		{model.NotImplemented, "not-implemented"},
		{model.Unfit, "unfit"},
	}
}

// packErrorKind returns the name of a kind, and its number in version 1.
func packErrorKind(kind model.Kind) (ErrorKind, int) {
	for number, k := range errorKinds() {
		if k.kind == kind {
			return ErrorKind(k.name), number
		}
	}
	return "internal", 0
}

// unpackErrorKind reads what packErrorKind made; without a name, version 1 has said it.
// What this release does not know is model.Internal.
func unpackErrorKind(name ErrorKind, number int) model.Kind {
	for n, k := range errorKinds() {
		if string(name) == k.name || name == "" && n == number {
			return k.kind
		}
	}
	return model.Internal
}

// rowNumbers are the kinds of rows as version 1 numbers them, from 1 on. Later kinds
// have no number.
func rowNumbers() []desired.Kind {
	return []desired.Kind{
		"policy", "namespace", "link", "sysctl", "addr", "route", "neigh", "name", "resolver", "forward", "reserve",
		"loopback", "fence", "announce",
	}
}

// packRowKind returns the number of a kind in version 1; 0 for none.
func packRowKind(kind desired.Kind) int { return slices.Index(rowNumbers(), kind) + 1 }

// unpackRowKind returns the kind that is named; without a name, version 1 has said it.
func unpackRowKind(name desired.Kind, number int) desired.Kind {
	numbers := rowNumbers()
	if name == "" && number > 0 && number <= len(numbers) {
		return numbers[number-1]
	}
	return name
}
