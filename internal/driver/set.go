package driver

import "github.com/linkspan/linkspan/internal/model"

// Set is the drivers there are, in the order they are listed to users.
type Set []Driver

// Placeholder is what a network has for a driver that only holds settings for others
// (--config-only).
const Placeholder = "null"

// Default returns the name of the driver of a network whose user names none: the
// first there is.
func (s Set) Default() string { return s[0].Name() }

// Find returns the driver called name.
func (s Set) Find(name string) (Driver, error) {
	for _, d := range s {
		if d.Name() == name {
			return d, nil
		}
	}
	return nil, model.Errorf(model.NotFound, "plugin %q not found", name)
}

// Traits returns the properties of a network's kind; none if there is no such kind.
func (s Set) Traits(n model.Network) Traits {
	d, err := s.Find(n.Driver)
	if err != nil {
		return Traits{}
	}
	return d.Traits()
}

// Publisher returns the driver of a network on which ports can be published.
func (s Set) Publisher(n model.Network) (Publisher, bool) {
	d, err := s.Find(n.Driver)
	p, ok := d.(Publisher)
	return p, ok && err == nil
}

// Named tells whether a network's endpoints are found by name: on all user-defined
// ones of drivers with names, and on the default bridge if asked for.
func (s Set) Named(n model.Network) bool { return s.Traits(n).Names && n.Named() }
