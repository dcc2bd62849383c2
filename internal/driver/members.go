package driver

import (
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Member is a container on a network as others there see it.
type Member struct {
	Endpoint model.EndpointID
	VTEP     netip.Addr // where its host receives the network's packets
	Addrs    []netip.Addr
	Names    []string // its own; a PTR query gets the first
	// Service is what it stands for if it runs a service's task; and Serving says that it is
	// ready for requests.
	Service *model.ServiceEndpoint
	Serving bool
}

// NewMember returns an endpoint of this host.
func NewMember(sb model.Sandbox, e model.Endpoint) Member {
	m := Member{Endpoint: e.ID, Names: model.DNSNames(sb, e), Service: e.Service, Serving: sb.Serving}
	for _, f := range model.Families {
		if a := e.Address(f); a.IsValid() {
			m.Addrs = append(m.Addrs, a)
		}
	}
	return m
}

// Elsewhere returns an endpoint of another host.
func Elsewhere(r model.Remote) Member {
	return Member{Endpoint: r.Endpoint, VTEP: r.VTEP, Addrs: r.Addrs, Names: r.Names, Service: r.Service, Serving: r.Serving}
}

// Members returns who is on a network over hosts: those here that are up, then those
// elsewhere, in the order of their IDs.
func Members(s *state.Snapshot, known facts.Overlay) (out []Member) {
	for e := range s.EndpointsOn(known.ID) {
		if sb, ok := s.Sandbox(e.Sandbox); ok && e.Up {
			m := NewMember(sb, e)
			m.VTEP = known.Local
			out = append(out, m)
		}
	}
	for _, r := range known.Remotes {
		if r.VTEP.IsValid() && r.VTEP != known.Local && !r.Gate {
			out = append(out, Elsewhere(r))
		}
	}
	return out
}

// NameRows returns what a member answers to: the names of its service, and its own, which
// yield to those. On the network for published ports nobody has names.
//
// A service's names stand for its virtual addresses as long as there is a member, or
// without those for all members that are ready; "tasks." before them always for the latter.
func (m Member) NameRows(n model.Network) (rows []desired.Row) {
	if n.Ingress {
		return nil
	}
	add := func(name string, addrs []netip.Addr, primary bool) {
		row := desired.Name{
			Network: n.ID, NetworkName: n.Name, Name: name, Endpoint: m.Endpoint, Addrs: addrs, Primary: primary,
		}
		if !slices.ContainsFunc(rows, func(r desired.Row) bool { return r.Key() == row.Key() }) {
			rows = append(rows, row)
		}
	}
	if s := m.Service; s != nil {
		for _, name := range append([]string{s.Name}, s.Aliases...) {
			if len(s.VIPs) > 0 {
				add(name, s.VIPs, false)
			} else if m.Serving {
				add(name, m.Addrs, false)
			}
			if m.Serving {
				add("tasks."+name, m.Addrs, false)
			}
		}
	}
	for i, name := range m.Names {
		add(name, m.Addrs, i == 0)
	}
	return rows
}
