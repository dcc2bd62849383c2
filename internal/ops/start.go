package ops

import (
	"github.com/linkspan/linkspan/internal/model"
)

// StartSandbox returns the op for `docker start`: the sandbox comes up with all
// its endpoints. One that is up already is success.
func StartSandbox(id model.SandboxID) Op {
	return func(tx Tx) error {
		sb, err := sandboxNamed(tx, id)
		if err != nil || sb.Up {
			return err
		}
		pending := sb.Pending
		sb.Pending = nil
		sb.Up = true
		sb.Generation++
		for _, spec := range pending {
			n, err := tx.View().FindNetwork(spec.Network)
			if spec.Network == model.NetworkBridge && model.KindOf(err) == model.NotFound {
				// --bridge=none: its containers do without, until there is one again.
				sb.Pending = append(sb.Pending, spec)
				continue
			}
			if err != nil {
				return err
			}
			if err := enrol(tx, sb, n, spec); err != nil {
				return err
			}
		}
		tx.PutSandbox(sb)
		for _, e := range tx.View().EndpointsInOrder(id) {
			if err := attach(tx, e); err != nil {
				return err
			}
		}
		touchLinkers(tx, sb)
		return leads(tx, id, false)
	}
}

// leads settles by which networks a sandbox that is up leaves, and is reached, after
// anything of its networks changed.
func leads(tx Tx, id model.SandboxID, lenient bool) error {
	if err := wayOut(tx, id); err != nil {
		return err
	}
	if err := publish(tx, id); err != nil {
		return err
	}
	return outward(tx, id, lenient)
}

// StopSandbox returns the op for `docker stop`: the sandbox goes down. Its
// endpoints keep their addresses as claims: those the user asked for, and
// softly also the others, and their ports. One that is down already is success.
func StopSandbox(id model.SandboxID) Op {
	return func(tx Tx) error {
		sb, ok := tx.View().Sandbox(id)
		if !ok || !sb.Up {
			return nil
		}
		sb.Up, sb.Serving = false, false
		tx.PutSandbox(sb)
		dropWaysOut(tx, id)
		for e := range tx.View().EndpointsOf(id) {
			e.Up, e.Interface, e.DownSince = false, "", tx.View().Revision+1
			tx.PutEndpoint(e)
		}
		touchLinkers(tx, sb)
		return nil
	}
}

// YieldSandbox returns the op that gives the addresses of a sandbox that is down
// back, except those that the user asked for: its container is not about to come
// back by itself, so others may have them, and they are given out next.
func YieldSandbox(id model.SandboxID) Op {
	return func(tx Tx) error {
		for e := range tx.View().EndpointsOf(id) {
			if e.Up || e.Yielded {
				continue
			}
			e.Yielded = true
			tx.PutEndpoint(e)
			for _, f := range model.Families {
				a, last := e.Address(f), tx.View().Cursor(e.Network, f)
				if a.IsValid() && !e.Static(f) && last.IsValid() && !last.Less(a) {
					tx.PutCursor(e.Network, a.Prev())
				}
			}
		}
		return nil
	}
}
