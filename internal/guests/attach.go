package guests

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/ports"
	"github.com/linkspan/linkspan/internal/state"
)

// Port is one publication as it is asked for.
type Port = ports.Asked

// Request asks for a network namespace to join a network.
type Request struct {
	Namespace string // path
	Network   string // name, ID or the beginning of an ID
	Claim     model.Claim
	Name      string // by which others find it; empty: one is made of its path
	Hostname  string // another
	Interface string // inside; empty: the lowest free name
	MAC       string
	// Addresses are those asked for, at most one of each family.
	Addresses  []netip.Addr
	Aliases    []string
	Publish    []Port
	Priority   int
	DriverOpts map[string]string
}

// Attach has a network namespace join a network, and returns what it is there. If that
// fails, what it lacks may belong to a guest that is no more: those are removed, and it
// is tried once more.
func (m *Manager) Attach(ctx context.Context, r Request) (Attachment, error) {
	a, err := m.attach(ctx, r)
	if m.freed(ctx, err) {
		a, err = m.attach(ctx, r)
	}
	if err != nil {
		return Attachment{}, err
	}
	m.Events.Publish(events.Joined(a.Network, string(a.Sandbox.Container)))
	return a, nil
}

// freed tells whether what somebody was refused may be free now: guests that are no more
// were removed.
func (m *Manager) freed(ctx context.Context, refused error) bool {
	switch model.KindOf(refused) {
	case model.Conflict, model.Forbidden, model.Unfit:
		return refused != nil && m.Sweep(ctx) > 0
	}
	return false
}

func (m *Manager) attach(ctx context.Context, r Request) (Attachment, error) {
	m.coming.RLock()
	defer m.coming.RUnlock()
	guest, err := m.look(r.Namespace)
	if err != nil {
		return Attachment{}, err
	}
	spec, err := r.endpoint()
	if err != nil {
		return Attachment{}, err
	}
	if r.Claim.Publish, err = ports.Parse(r.Publish); err != nil {
		return Attachment{}, err
	}
	id := ids.New()
	s, err := m.Engine.Do(ctx, ops.AttachGuest(ops.GuestRequest{
		Sandbox: model.Sandbox{
			ID: model.SandboxID(ids.New()), Container: model.ContainerID(model.GuestPrefix + id[:len(id)-len(model.GuestPrefix)]),
			Name: r.name(), Hostname: r.Hostname, Guest: &guest,
		},
		Endpoint: spec, Claim: r.Claim,
	}))
	if err != nil {
		return Attachment{}, err
	}
	return m.attachment(s, spec.ID)
}

// look says which namespace is at a path, unless it is a container's.
func (m *Manager) look(path string) (model.Guest, error) {
	if !filepath.IsAbs(path) {
		return model.Guest{}, model.Errorf(model.Invalid, "the path of a network namespace must begin with a slash: %q", path)
	}
	guest, owner, err := m.Namespaces.Look(path)
	if err != nil {
		return model.Guest{}, err
	}
	_, id, _ := strings.Cut(string(owner), "/")
	if sb, ok := m.Engine.Snapshot().Sandbox(model.SandboxID(id)); ok && sb.Guest == nil {
		return model.Guest{}, &model.Error{Op: "guest.attach", Kind: model.Invalid, Err: fmt.Errorf("%s is the network namespace of container %s", path, sb.Name),
			Way: "connect the container: docker network connect NETWORK " + sb.Name}
	}
	return guest, nil
}

// name is what the guest is called: as asked for, or by the last word of its path that
// says something.
func (r Request) name() string {
	if r.Name != "" {
		return r.Name
	}
	if pid, ok := strings.CutPrefix(r.Namespace, "/proc/"); ok {
		pid, _, _ = strings.Cut(pid, "/")
		return "pid-" + pid
	}
	return filepath.Base(r.Namespace)
}

func (r Request) endpoint() (ops.EndpointSpec, error) {
	spec := ops.EndpointSpec{ID: model.EndpointID(ids.New()), Network: r.Network, MAC: strings.ToLower(r.MAC), Aliases: r.Aliases, Priority: r.Priority, DriverOpts: map[string]string{}}
	for key, value := range r.DriverOpts {
		spec.DriverOpts[key] = value
	}
	if r.Interface != "" {
		spec.DriverOpts[driver.OptionInterface] = r.Interface
	}
	for _, a := range r.Addresses {
		field := &spec.IPv4
		if a = a.Unmap(); a.Is6() {
			field = &spec.IPv6
		}
		if field.IsValid() {
			return spec, model.Errorf(model.Invalid, "one address of each family can be asked for: %s and %s", *field, a)
		}
		*field = a
	}
	if complaints := ops.CheckNames([]string{r.name()}, nil); len(complaints) > 0 {
		return spec, model.Errorf(model.Invalid, "name of the network namespace: %w", complaints[0])
	}
	return spec, nil
}

func (m *Manager) attachment(s *state.Snapshot, id model.EndpointID) (Attachment, error) {
	e, ok := s.Endpoint(id)
	if !ok {
		return Attachment{}, model.Errorf(model.Unavailable, "endpoint %s has been removed again", model.Short(id))
	}
	sb, _ := s.Sandbox(e.Sandbox)
	return m.of(s, sb, e), nil
}

// owners are whose rows make an attachment.
func (a Attachment) owners() []desired.Owner {
	return []desired.Owner{desired.OwnerOf("sandbox", a.Sandbox.ID), desired.OwnerOf("endpoint", a.Endpoint.ID)}
}
