package facts

import "github.com/linkspan/linkspan/internal/model"

// Question is what has to be found out about an endpoint before it can come up. It
// carries the records as the op that asks would leave them.
type Question struct {
	Network  model.Network
	Endpoint model.Endpoint
	Sandbox  model.Sandbox
}

// Owner returns whom the answer is to be about.
func (q Question) Owner() Owner { return Endpoint{ID: q.Endpoint.ID}.Owner() }

// Missing is the error of an op that cannot go on before a question is answered. Whoever
// runs the op asks, and runs it again with the answer among the facts.
type Missing struct{ Question Question }

// Error implements error.
func (m *Missing) Error() string {
	return "nobody says what endpoint " + m.Question.Sandbox.Name + " has on network " + m.Question.Network.Name
}
