package ops

import (
	"github.com/linkspan/linkspan/internal/model"
)

// SetServing returns the op that says whether a sandbox that is up is ready for requests
// to its service. What is down is not.
func SetServing(id model.SandboxID, yes bool) Op {
	return func(tx Tx) error {
		sb, err := sandboxNamed(tx, id)
		if err != nil {
			return err
		}
		yes := yes && sb.Up
		if sb.Serving == yes {
			return nil
		}
		sb.Serving = yes
		tx.PutSandbox(sb)
		// What an endpoint answers to is planned with the endpoint.
		for e := range tx.View().EndpointsOf(id) {
			tx.PutEndpoint(e)
		}
		return nil
	}
}
