package driver

import (
	"slices"

	"github.com/linkspan/linkspan/internal/model"
)

// Set is the drivers there are, in the order they are listed to users.
type Set []Driver

// Placeholder is what a network has for a driver that only holds settings for others
// (--config-only).
const Placeholder = "null"

// Default returns the name of the driver of a network whose user names none: the
// first there is.
func (s Set) Default() string { return s[0].Name() }

// Outside is a Driver that stands for all that are not built in: plugins. Its own name is
// empty.
type Outside interface {
	// Called returns the driver of networks that name a plugin. Whether there is one is
	// for others to find out.
	Called(plugin string) Driver
}

// Find returns the driver called name.
func (s Set) Find(name string) (Driver, error) {
	for _, d := range s {
		if d.Name() == name && name != "" {
			return d, nil
		}
	}
	for _, d := range s {
		if o, ok := d.(Outside); ok && name != "" {
			return o.Called(name), nil
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

// Publisher returns the driver of a network on which ports can be published. Who is reached
// at the addresses of a LAN has none.
func (s Set) Publisher(n model.Network) (Publisher, bool) {
	d, err := s.Find(n.Driver)
	p, ok := d.(Publisher)
	if u, is := d.(Uplinked); is && u.Uplink(n) != "" {
		return p, false
	}
	return p, ok && err == nil
}

// Plugins tells whether names that are not built in may be those of plugins.
func (s Set) Plugins() bool {
	return slices.ContainsFunc(s, func(d Driver) bool { _, is := d.(Outside); return is })
}

// Foreign tells whether the driver of a network is somebody else's.
func (s Set) Foreign(n model.Network) bool {
	d, err := s.Find(n.Driver)
	_, foreign := d.(Outside)
	return err == nil && foreign && !n.ConfigOnly
}

// Names returns what users call the drivers that are built in.
func (s Set) Names() []string {
	var out []string
	for _, d := range s {
		if name := d.Name(); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// Named tells whether a network's endpoints are found by name: on all user-defined
// ones of drivers with names, and on the default bridge if asked for.
func (s Set) Named(n model.Network) bool { return s.Traits(n).Names && n.Named() }
