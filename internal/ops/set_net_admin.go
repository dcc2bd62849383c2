package ops

import (
	"github.com/linkspan/linkspan/internal/model"
)

// SetNetAdmin returns the op that says whether processes in a sandbox have
// CAP_NET_ADMIN: its ports are believed accordingly, at once if it is up.
func SetNetAdmin(id model.SandboxID, yes bool) Op {
	return func(tx Tx) error {
		sb, err := sandboxNamed(tx, id)
		if err != nil || sb.NetAdmin == yes {
			return err
		}
		sb.NetAdmin = yes
		tx.PutSandbox(sb)
		// How far a port is believed is planned with its endpoint.
		for e := range tx.View().EndpointsOf(id) {
			tx.PutEndpoint(e)
		}
		return nil
	}
}
