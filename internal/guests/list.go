package guests

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/names"
	"github.com/linkspan/linkspan/internal/state"
)

// Attachment is a guest on one network.
type Attachment struct {
	Endpoint model.Endpoint
	Sandbox  model.Sandbox // Guest is set
	Network  model.Network
	Device   string // the network's interface on the host; empty if it has none
	Port     string // the host's end of the guest's interface; empty if it has none
	// Routes are those that the guest has by it, besides that to the network itself.
	Routes []Route
	// DNS are the name servers that answer the network's names, inside; none if it has no
	// names.
	DNS []netip.Addr
}

// Route is a way that leads through an attachment.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr
}

// Ref says which attachments are meant: those that have all that is given.
type Ref struct {
	Door, Config, Container, Interface string
	// Namespace is the path of the namespace, or that at which it was found first.
	Namespace string
	Network   string // name, ID or the beginning of an ID
}

// List returns attachments, in the order in which they were made within a guest. Errors:
// NotFound or Invalid for the network.
func (m *Manager) List(ref Ref) ([]Attachment, error) {
	s := m.Engine.Snapshot()
	var network model.NetworkID
	if ref.Network != "" {
		n, err := s.FindNetwork(ref.Network)
		if err != nil {
			return nil, err
		}
		network = n.ID
	}
	var out []Attachment
	for _, a := range m.candidates(s, ref) {
		c := a.Endpoint.Claim
		if (network == "" || a.Network.ID == network) && (ref.Door == "" || c.Door == ref.Door) && (ref.Config == "" || c.Config == ref.Config) &&
			(ref.Container == "" || c.Container == ref.Container) && (ref.Interface == "" || a.Endpoint.Interface == ref.Interface) {
			out = append(out, a)
		}
	}
	return out, nil
}

// candidates returns those among which all are that are meant; few, where the reference
// says whose.
func (m *Manager) candidates(s *state.Snapshot, ref Ref) (out []Attachment) {
	switch {
	case ref.Container != "" && ref.Door != "":
		for e := range s.Claimed(ref.Door, ref.Container) {
			sb, _ := s.Sandbox(e.Sandbox)
			out = append(out, m.of(s, sb, e))
		}
	case ref.Namespace != "":
		if guest, _, err := m.Namespaces.Look(ref.Namespace); err == nil {
			if sb, ok := s.SandboxOfGuest(guest); ok {
				return m.ofSandbox(s, sb)
			}
			return nil
		}
		fallthrough
	default:
		for sb := range s.Sandboxes() {
			if sb.Guest != nil && (ref.Namespace == "" || sb.Guest.Path == ref.Namespace) {
				out = append(out, m.ofSandbox(s, sb)...)
			}
		}
	}
	return out
}

func (m *Manager) ofSandbox(s *state.Snapshot, sb model.Sandbox) (out []Attachment) {
	for _, e := range s.EndpointsInOrder(sb.ID) {
		if e.Claim != nil {
			out = append(out, m.of(s, sb, e))
		}
	}
	return out
}

func (m *Manager) of(s *state.Snapshot, sb model.Sandbox, e model.Endpoint) Attachment {
	n, _ := s.Network(e.Network)
	a := Attachment{Endpoint: e, Sandbox: sb, Network: n}
	a.Device, _ = m.Drivers.Device(n)
	if at, ok := m.Drivers.AttachedTo(s, e); ok {
		a.Port = at.Port
	}
	for row := range m.Engine.Plan().Owned(desired.OwnerOf("sandbox", sb.ID)) {
		if r, ok := row.(desired.Route); ok && r.Link == e.Interface {
			a.Routes = append(a.Routes, Route{r.Destination, r.Gateway})
		}
	}
	if m.Drivers.Named(n) {
		a.DNS = []netip.Addr{netip.MustParseAddr(names.ResolverAddr)}
	}
	return a
}

// Expected is what an attachment's interface must have; what is empty must be as it was
// given.
type Expected struct {
	MAC       string
	Addresses []netip.Prefix
}

// settling bounds how long Check waits for a kernel that is late.
const settling = 5 * time.Second

// Check tells whether the attachment that is meant is there and whole: in the model, in
// the kernel and inside the namespace. Errors: NotFound if there is none; Conflict if
// something is missing.
func (m *Manager) Check(ctx context.Context, ref Ref, want Expected) error {
	found, err := m.List(ref)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return model.Errorf(model.NotFound, "there is no such attachment: container %q, interface %q", ref.Container, ref.Interface)
	}
	a := found[len(found)-1]
	guest, _, err := m.Namespaces.Look(ref.Namespace)
	if err != nil {
		return err
	}
	if sb, ok := m.Engine.Snapshot().SandboxOfGuest(guest); !ok || sb.ID != a.Sandbox.ID {
		return model.Errorf(model.Conflict, "%s is another network namespace than the one that was attached", ref.Namespace)
	}
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	if err := m.Engine.Await(ctx, a.owners()...); err != nil {
		return model.Errorf(model.Conflict, "%w", err)
	}
	links, err := m.Namespaces.Inside(ref.Namespace)
	if err != nil {
		return err
	}
	return whole(a, want, links)
}

// whole says what an attachment lacks inside its namespace.
func whole(a Attachment, want Expected, links []facts.Inside) error {
	name := a.Endpoint.Interface
	i := slices.IndexFunc(links, func(l facts.Inside) bool { return l.Name == name })
	if i < 0 {
		return model.Errorf(model.Conflict, "interface %s is missing in %s", name, a.Sandbox.Guest.Path)
	}
	have, lacks := links[i], []error{}
	if mac := cmp.Or(want.MAC, a.Endpoint.MAC); mac != "" && have.MAC != mac {
		lacks = append(lacks, fmt.Errorf("interface %s has the MAC address %s, not %s", name, have.MAC, mac))
	}
	if !have.Up {
		lacks = append(lacks, fmt.Errorf("interface %s is down", name))
	}
	for _, p := range expectedAddrs(a, want) {
		if !slices.ContainsFunc(have.Addrs, func(h netip.Prefix) bool { return h.Addr() == p }) {
			lacks = append(lacks, fmt.Errorf("interface %s has lost the address %s", name, p))
		}
	}
	if len(lacks) > 0 {
		return model.Errorf(model.Conflict, "%w", errors.Join(lacks...))
	}
	return nil
}

// expectedAddrs are the addresses that must be there: those that were given, unless a
// plugin behind ours has changed them, as the result says that it passed on.
func expectedAddrs(a Attachment, want Expected) (out []netip.Addr) {
	for _, p := range want.Addresses {
		out = append(out, p.Addr())
	}
	if len(out) > 0 {
		return out
	}
	for _, f := range model.Families {
		if addr := a.Endpoint.Address(f); addr.IsValid() {
			out = append(out, addr)
		}
	}
	return out
}
