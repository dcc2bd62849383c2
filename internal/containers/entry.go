package containers

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containers/health"
	"github.com/linkspan/linkspan/internal/containers/netfiles"
	"github.com/linkspan/linkspan/internal/containers/streams"
	"github.com/linkspan/linkspan/internal/model"
)

// entry is a container in memory. The record is only changed by whoever holds
// opLock; mu lets others read it meanwhile.
type entry struct {
	id      model.ContainerID
	opLock  opLock
	input   *streams.Stdin // for clients attached; outlives runs
	monitor health.Monitor
	files   netfiles.Lock // not guarded by opLock: links are changed by the target's verbs too

	mu      sync.Mutex
	rec     record
	run     *run // nil while there is no process
	waiters map[*waiter]bool
	// returning says that the user asked for a restart: it ends only to run again.
	returning bool
	pause     time.Duration // before the last automatic restart
	awaited   []netip.Addr  // addresses of the host that the last automatic restart lacked
	waits     int           // counts waits for an automatic restart: only the last one is in force
	made      bool          // the runtime has a container of this ID
	tried     bool          // it was asked for one and did not make it: there may be parts
	draft     bool          // the runtime has a file system for it, and no container yet
	gone      bool          // removed: whoever still holds the entry must not use it
}

func newEntry(r record) *entry {
	return &entry{
		id: r.ID, opLock: newOpLock(), input: streams.NewStdin(), rec: r,
		waiters: map[*waiter]bool{},
	}
}

// snapshot returns the record as it is now.
func (b *entry) snapshot() record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rec
}

// edit changes the record. The caller holds opLock.
func (b *entry) edit(change func(*record)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.rec)
}

// Record returns the record as it is now.
func (b *entry) Record() containerrecord.Record { return b.snapshot().plain() }

// EditRecord changes the record. The caller holds opLock.
func (b *entry) EditRecord(change func(*containerrecord.Record)) {
	b.edit(func(r *record) { change((*containerrecord.Record)(r)) })
}

// NetFiles returns the lock of the container's hosts and resolv.conf.
func (b *entry) NetFiles() *netfiles.Lock { return &b.files }

// set replaces the record. The caller holds opLock.
func (b *entry) set(r record) { b.edit(func(now *record) { *now = r }) }

// current returns the run, or nil while there is no process.
func (b *entry) current() *run {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.run
}

// opLock is a lock that can be waited for with a deadline.
type opLock chan struct{}

func newOpLock() opLock { return make(opLock, 1) }

// acquire waits until the lock is free or ctx ends.
func (t opLock) acquire(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return model.Errorf(model.Unavailable, "waiting for another operation on the container: %w", context.Cause(ctx))
	}
}

// acquireNow is acquire without a deadline, for what cannot be given up, such as
// recording an exit.
func (t opLock) acquireNow() { t <- struct{}{} }

func (t opLock) release() { <-t }
