package hostfilter

import (
	"context"

	"github.com/linkspan/linkspan/internal/kernel/xtables"
)

// shape asks for that of the family's table.
func (l *legacy) shape() (s xtables.Shape, err error) {
	err = l.enter(func() error {
		socket, err := xtables.OpenSocket(l.Family)
		if err != nil {
			return err
		}
		defer socket.Close() //nolint:errcheck // nothing was written through it
		s, err = socket.Shape(filterTable)
		return err
	})
	return s, err
}

// changed tells whether rules have come or gone since the last look, or the table itself
// has come, which is told once. Whether ours are among them, only a comparison says.
func (l *legacy) changed() (bool, error) {
	if !l.active() {
		is := l.loaded()
		return !l.known.Swap(is) && is, nil
	}
	if !l.mu.TryLock() { // somebody is at it
		return false, nil
	}
	defer l.mu.Unlock()
	now, err := l.shape()
	return err == nil && now != l.seen, err
}

// Poll implements watch.Poller, for tables of iptables-legacy, which send no
// notifications.
func (f *Firewall) Poll(context.Context) (lost bool, err error) {
	for _, y := range f.families {
		changed, failed := y.legacy.changed()
		if failed != nil {
			return lost, failed
		}
		lost = lost || changed
	}
	return lost, nil
}
