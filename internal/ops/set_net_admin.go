package ops

import "github.com/linkspan/linkspan/internal/model"

// SetNetAdmin returns the op that says whether processes in a sandbox have
// CAP_NET_ADMIN: its ports are believed accordingly, at once if it is up.
func SetNetAdmin(id model.SandboxID, yes bool) Op {
	return func(tx Tx) error {
		sb, err := sandboxNamed(tx, id)
		if err != nil || sb.NetAdmin == yes {
			return err
		}
		sb.NetAdmin = yes
		putWhole(tx, sb) // how far a port is believed is planned with its endpoint
		return nil
	}
}

// SetServing returns the op that says whether a sandbox is ready for requests to its
// service. One that is down is not.
func SetServing(id model.SandboxID, yes bool) Op {
	return func(tx Tx) error {
		sb, err := sandboxNamed(tx, id)
		if err != nil || sb.Serving == (yes && sb.Up) {
			return err
		}
		sb.Serving = yes && sb.Up
		putWhole(tx, sb) // what an endpoint answers to is planned with it
		return nil
	}
}

// putWhole writes a sandbox, and has its endpoints planned anew.
func putWhole(tx Tx, sb model.Sandbox) {
	tx.PutSandbox(sb)
	for e := range tx.View().EndpointsOf(sb.ID) {
		tx.PutEndpoint(e)
	}
}
