package containers

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/lifecycle"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	restartFirst = 100 * time.Millisecond
	restartLast  = time.Minute
	// restartCalm is the running time after which a restart counts as successful.
	restartCalm = 10 * time.Second
)

// restarts starts containers again by their restart policies.
type restarts struct {
	*registry
	host   *HostFiles
	next   func(*entry, lifecycle.Event) (record, lifecycle.Action)
	start  func(context.Context, *entry) error
	closed context.Context // ends with the manager
	work   *sync.WaitGroup
	log    *slog.Logger
}

// restartLater starts the container again after a pause that doubles with every
// run that ended early and every start that failed: what is missing for it, such
// as an address of the host, may yet come. A stop, a removal or the manager's end
// cancels it.
func (rs *restarts) restartLater(b *entry) {
	b.mu.Lock()
	b.waits++
	wait := b.waits
	began := b.rec.State.StartedAt
	b.mu.Unlock()
	pause := b.nextPause(time.Since(began)) // by the steady clock, if the run began under this daemon
	rs.work.Go(func() {
		for rs.restartAfter(b, wait, pause) {
			pause = b.longerPause()
		}
	})
}

// hurry makes the next start of a container come at once that waits because the last
// one failed: somebody believes that it would work now.
func (rs *restarts) hurry(b *entry) {
	b.mu.Lock()
	b.pause = 0
	b.mu.Unlock()
	rs.restartLater(b)
}

// restartAfter starts a container that waits for it, after a pause, and tells
// whether that is to be tried again. It does nothing if the wait is not in force
// any more.
func (rs *restarts) restartAfter(b *entry, wait int, pause time.Duration) (again bool) {
	if !rs.rest(b, pause) {
		return false
	}
	rs.awaitShared(b)
	b.opLock.acquireNow()
	defer b.opLock.release()
	before, do := rs.next(b, lifecycle.Event{What: lifecycle.RestartDue})
	if b.isGone() || !b.inForce(wait) || do.Do != lifecycle.Launch {
		return false
	}
	ctx, cancel := cleanup() // the state says "restarting" until it runs
	defer cancel()
	b.await(rs.absent(before)) // before the start, so that none comes unseen, and who sees that it failed sees what it lacks
	err := rs.start(ctx, b)
	if err == nil {
		b.await(nil)
		return false
	}
	now := b.snapshot().State
	if log := rs.log.With("container", model.Short(b.id), "op", "container.restart", "again", now.Restarting, "err", err); now.Restarting && now.Error == before.State.Error {
		log.Debug("restart") // for the same reason as the last time
	} else {
		log.Warn("restart")
	}
	if !now.Restarting {
		b.wake(int64(now.ExitCode), "", false) // it will not run again by itself
	}
	return now.Restarting
}

// await says which addresses of the host the container's next start waits for.
func (b *entry) await(addresses []netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.awaited = addresses
}

// addressLook is how often the host is looked at for an address that a container
// waits for.
const addressLook = time.Second

// rest waits for a pause to be over, or for an address of the host to come that the
// container publishes ports at: then the pauses begin anew, because the kernel may
// not let it be used at once (RFC 4862 section 5.4). False if the manager is closed
// first.
func (rs *restarts) rest(b *entry, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	var look <-chan time.Time
	b.mu.Lock()
	awaited := b.awaited
	b.mu.Unlock()
	if len(awaited) > 0 {
		ticker := time.NewTicker(addressLook)
		defer ticker.Stop()
		look = ticker.C
	}
	for {
		select {
		case <-timer.C:
			return true
		case <-rs.closed.Done():
			return false
		case <-look:
			if still := rs.absent(b.snapshot()); len(still) < len(awaited) {
				b.mu.Lock()
				b.pause = 0
				b.mu.Unlock()
				return true
			}
		}
	}
}

// absent returns the addresses at which a container publishes ports and which the
// host does not have.
func (rs *restarts) absent(r record) []netip.Addr {
	wanted := map[netip.Addr]bool{}
	for _, bindings := range r.Host.PortBindings {
		for _, b := range bindings {
			if b.HostIP.IsValid() && !b.HostIP.IsUnspecified() && !b.HostIP.IsLoopback() {
				wanted[b.HostIP.Unmap().WithZone("")] = true
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	have, err := rs.host.addresses()
	if err != nil {
		return nil // the pause will do
	}
	for _, a := range have {
		delete(wanted, a)
	}
	return slices.Collect(maps.Keys(wanted))
}

// addresses returns those of the host's interfaces.
func (h HostFiles) addresses() ([]netip.Addr, error) {
	if h.Addresses != nil {
		return h.Addresses()
	}
	all, err := net.InterfaceAddrs()
	var out []netip.Addr
	for _, one := range all {
		if p, err := netip.ParsePrefix(one.String()); err == nil {
			out = append(out, p.Addr().Unmap().WithZone(""))
		}
	}
	return out, err
}

// inForce tells whether nobody has begun another wait for the container's restart.
func (b *entry) inForce(wait int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waits == wait
}

// awaitShared waits, within limits, until the containers run whose network this
// one uses or links to, if they are about to be started too.
func (rs *restarts) awaitShared(b *entry) {
	ctx, cancel := context.WithTimeout(rs.closed, restartLast)
	defer cancel()
	for rec := b.snapshot(); rec.State.Restarting && rs.awaitsAnother(rec); rec = b.snapshot() {
		select {
		case <-time.After(restartFirst):
		case <-ctx.Done():
			return
		}
	}
}

// awaitsAnother tells whether something that a container needs for its start is
// about to be started itself.
func (rs *restarts) awaitsAnother(rec record) bool {
	if rec.mode().IsContainer() {
		other, err := rs.find(rec.mode().ConnectedContainer())
		return err == nil && other.snapshot().State.Restarting
	}
	return slices.ContainsFunc(rec.Links, func(l link) bool {
		target, ok := rs.byID(l.Target)
		return ok && target.State.Restarting
	})
}

// nextPause returns how long to wait before a restart: twice as long as the last
// time, within bounds, unless the run that has ended, after being up for that long,
// was calm.
func (b *entry) nextPause(up time.Duration) time.Duration {
	if up >= restartCalm {
		b.mu.Lock()
		b.pause = 0
		b.mu.Unlock()
	}
	return b.longerPause()
}

// longerPause is nextPause where nothing ran since the last one.
func (b *entry) longerPause() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pause = min(2*b.pause, restartLast); b.pause == 0 {
		b.pause = restartFirst
	}
	return b.pause
}
