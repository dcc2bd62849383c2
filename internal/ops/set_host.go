package ops

import (
	"github.com/linkspan/linkspan/internal/model"
)

// HostSettings are the daemon's flags that concern the machine as a whole.
type HostSettings struct {
	Forward4, Forward6 bool // forwarding must be on: it is switched on where it is off
	Router             bool // and let foreign traffic pass too
}

// SetHost returns the op that decides what the engine does to the machine. That
// it switched forwarding on is remembered until the next boot, because
// afterwards the host looks as if its administrator had.
func SetHost(s HostSettings) Op {
	return func(tx Tx) error {
		f, was := tx.Facts().Host, tx.View().Host()
		same := was.BootID == f.BootID
		h := model.Host{
			BootID:      f.BootID,
			Forward4:    s.Forward4,
			Forward6:    s.Forward6 && anyIPv6(tx),
			Forwarding4: s.Forward4 && (f.ForwardingOff4 || same && was.Forwarding4),
			Forwarding6: s.Forward6 && (f.ForwardingOff6 && anyIPv6(tx) || same && was.Forwarding6),
			Router:      s.Router,
		}
		if h != was {
			tx.PutHost(h)
		}
		return nil
	}
}

// forward6 switches IPv6 forwarding on for the sake of a network that needs it.
// It waits for one, because a host that forwards IPv6 ignores router
// advertisements (kernel: ip-sysctl, accept_ra), and may lose its own way out.
func (s HostSettings) forward6(tx Tx, n model.Network) {
	h := tx.View().Host()
	if !n.IPv6 || !s.Forward6 {
		return
	}
	was := h
	h.Forward6 = true
	if tx.Facts().Host.ForwardingOff6 && !h.Forwarding6 {
		h.BootID, h.Forwarding6 = tx.Facts().Host.BootID, true
	}
	if h != was {
		tx.PutHost(h)
	}
}

func anyIPv6(tx Tx) bool {
	for n := range tx.View().Networks() {
		if _, onParent := tx.Drivers.ParentOf(n); n.IPv6 && !n.ConfigOnly && !onParent {
			return true
		}
	}
	return false
}
