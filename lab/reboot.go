package lab

import (
	"context"
	"errors"
)

// Reboot cuts the power of a host and boots it again: all its processes, namespaces, links, firewall rules and memory
// file systems are gone, its files are not. No engine runs afterwards; Start starts one on the same data root.
func (l *Lab) Reboot(ctx context.Context, h *Host) error {
	cgroups, err := h.allCgroups(ctx)
	if err != nil {
		return err
	}
	// The kernel takes its time to forget the other end of the cable.
	if err := l.lan.ip(ctx, "link delete to-"+h.Name); err != nil {
		return err
	}
	h.halt()
	if h.engine != nil {
		<-h.engine.ended
	}
	left := Until(ctx, cleanTime, func() error { return noProcessesOn(h.Machine) })
	if err := errors.Join(left, removeCgroups(ctx, cgroups)); err != nil {
		return err
	}
	if err := h.boot(); err != nil {
		return err
	}
	if h.known { // what the real machine mounts is seen from the moment of booting on
		if h.pristine.mounts, err = h.mounts(ctx); err != nil {
			return err
		}
	}
	return l.join(ctx, h)
}
