package facts

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
)

// Question is what has to be found out about an endpoint before it can come up, or,
// without an Endpoint, about a network before it can be there. It carries the records as
// the op that asks would leave them.
type Question struct {
	Network model.Network
	// Wished is the network as its user asked for it, without what was chosen for it
	// since. It is set if the question is about the network.
	Wished model.Network
	// Avoid are subnets that one which is chosen for the network must not overlap.
	Avoid    []netip.Prefix
	Endpoint model.Endpoint
	Sandbox  model.Sandbox
	// Families are those in which the endpoint is to have an address.
	Families []model.Family
	// Outward is what the driver of an endpoint that is on its network already is to be
	// told next; nil if the endpoint is to join.
	Outward *Outward
	// Lenient has a driver's refusal to be told noted and not answered: what is asked for
	// happens in any case.
	Lenient bool
}

// Owner returns whom the answer is to be about.
func (q Question) Owner() Owner {
	if q.Endpoint.ID == "" {
		return Network{ID: q.Network.ID}.Owner()
	}
	return Endpoint{ID: q.Endpoint.ID}.Owner()
}

// Missing is the error of an op that cannot go on before a question is answered. Whoever
// runs the op asks, and runs it again with the answer among the facts.
type Missing struct{ Question Question }

// Error implements error.
func (m *Missing) Error() string {
	if m.Question.Endpoint.ID == "" {
		return "nobody says what network " + m.Question.Network.Name + " is to be"
	}
	return "nobody says what endpoint " + m.Question.Sandbox.Name + " has on network " + m.Question.Network.Name
}
