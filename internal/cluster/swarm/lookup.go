package swarm

import "github.com/linkspan/linkspan/internal/model"

// Lookup is how objects of a kind are found.
type Lookup[T any] struct {
	Kind string // "node", for errors
	// Get returns the object of an ID.
	Get func(id string) (T, error)
	// List returns the objects with one of these names, or whose ID has one of these
	// beginnings.
	List func(names, prefixes []string) ([]T, error)
}

// Find returns the object that a user names by its ID, its name, or the beginning of
// its ID, in this order. Errors: NotFound; Invalid if it is ambiguous.
func Find[T any](l Lookup[T], ref string) (T, error) {
	var none T
	if found, err := l.Get(ref); err == nil {
		return found, nil
	}
	list, err := l.List([]string{ref}, nil)
	if err != nil || len(list) == 0 {
		list, err = l.List(nil, []string{ref})
	}
	switch {
	case err != nil:
		return none, err
	case len(list) == 0:
		return none, model.Errorf(model.NotFound, "%s %s not found", l.Kind, ref)
	case len(list) > 1:
		return none, model.Errorf(model.Invalid, "%s %s is ambiguous (%d matches found)", l.Kind, ref, len(list))
	}
	return list[0], nil
}
