package driver

import (
	"fmt"
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// PublishRemarks says which ports of a sandbox are published at addresses of the host
// that the policy of a network of it would not publish at by itself: its user named
// them. The sandbox need not be up.
func PublishRemarks(s *state.Snapshot, drivers Set, id model.SandboxID) []string {
	sb, _ := s.Sandbox(id)
	var out []string
	for _, spec := range sb.Publish {
		if n, policy, beyond := beyondPolicy(s, drivers, id, spec.Host); beyond {
			out = append(out, fmt.Sprintf("Port %s/%s is published at %s, which opens it to more than the publish policy %q of network %s does. "+
				"Leave the address out, or name one of localhost%s", spec.Container, spec.Protocol, shown(spec.Host), policy, n.Name, orPrivate(policy)))
		}
	}
	return out
}

// beyondPolicy returns a network of the sandbox whose policy does not allow to publish
// at an address, if there is one.
func beyondPolicy(s *state.Snapshot, drivers Set, id model.SandboxID, host netip.Addr) (n model.Network, policy PublishPolicy, beyond bool) {
	if !host.IsValid() {
		return n, "", false
	}
	for e := range s.EndpointsOf(id) {
		n, _ := s.Network(e.Network)
		p, publishes := drivers.Publisher(n)
		if !publishes || n.Internal {
			continue
		}
		// A network's options were checked when it was made.
		o, err := p.Publishing(n)
		if err == nil && !o.Routed(model.FamilyOf(host)) && !o.Policy.Allows(host) {
			return n, o.Policy, true
		}
	}
	return n, "", false
}

func shown(host netip.Addr) string {
	if host.IsUnspecified() {
		return host.String() + " (every address of this host)"
	}
	return host.String()
}

func orPrivate(p PublishPolicy) string {
	if p == PublishPrivate {
		return " or of a private network"
	}
	return ""
}
