package workload

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/workload/health"
	"github.com/linkspan/linkspan/internal/workload/streams"
)

// box is a container in memory. The record is only changed by whoever has the
// turn; mu lets others read it meanwhile.
type box struct {
	id      model.ContainerID
	turn    turn
	input   *streams.Stdin // for clients attached; outlives runs
	monitor health.Monitor
	// files is held while the hosts file is read and written again: links are
	// changed by the target's operations too, without the turn.
	files sync.Mutex
	// usersFiles are files, by path, of which it was said that they are the user's.
	usersFiles map[string]bool // guarded by files

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
	gone      bool          // removed: whoever still holds the box must not use it
}

func newBox(r record) *box {
	return &box{
		id: r.ID, turn: newTurn(), input: streams.NewStdin(), rec: r,
		waiters: map[*waiter]bool{},
	}
}

// snapshot returns the record as it is now.
func (b *box) snapshot() record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rec
}

// edit changes the record. The caller has the turn.
func (b *box) edit(change func(*record)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.rec)
}

// set replaces the record. The caller has the turn.
func (b *box) set(r record) { b.edit(func(now *record) { *now = r }) }

// current returns the run, or nil while there is no process.
func (b *box) current() *run {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.run
}

// turn is a lock that can be waited for with a deadline.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits until the turn is free or ctx ends.
func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return model.Errorf(model.Unavailable, "waiting for another operation on the container: %w", context.Cause(ctx))
	}
}

// must is take without a deadline, for what cannot be given up, such as
// recording an exit.
func (t turn) must() { t <- struct{}{} }

func (t turn) give() { <-t }

// registry has all containers that there are. It finds them by ID, and by the names that
// the engine's state gives them.
type registry struct {
	engine Engine

	mu    sync.Mutex
	boxes map[model.ContainerID]*box
}

// find looks a container up as Docker does: by full ID, then by name with or
// without a slash, or the name of a link to it ("parent/alias"), then by a prefix
// of the ID that is not ambiguous.
func (reg *registry) find(ref string) (*box, error) {
	if ref == "" {
		return nil, model.Errorf(model.Invalid, "No container name or ID supplied")
	}
	if b, ok := reg.linkedAs(ref); ok {
		return b, nil
	}
	named, _ := reg.engine.Snapshot().ContainerNamed(strings.TrimPrefix(ref, "/"))
	reg.mu.Lock()
	defer reg.mu.Unlock()
	if b, ok := reg.boxes[model.ContainerID(ref)]; ok {
		return b, nil
	}
	if b, ok := reg.boxes[named.ID]; ok {
		return b, nil
	}
	var found []*box
	for id, b := range reg.boxes {
		if strings.HasPrefix(string(id), ref) {
			found = append(found, b)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, model.Errorf(model.NotFound, "No such container: %s", ref)
	}
	return nil, model.Errorf(model.Invalid, "multiple IDs found with provided prefix: %s", ref)
}

// take finds a container and takes its turn; the caller gives it back.
func (reg *registry) take(ctx context.Context, ref string) (*box, error) {
	b, err := reg.find(ref)
	if err != nil {
		return nil, err
	}
	if err := b.turn.take(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	gone := b.gone
	b.mu.Unlock()
	if gone {
		b.turn.give()
		return nil, model.Errorf(model.NotFound, "No such container: %s", ref)
	}
	return b, nil
}

// all returns every container, the newest first.
func (reg *registry) all() []*box {
	reg.mu.Lock()
	out := slices.Collect(maps.Values(reg.boxes))
	reg.mu.Unlock()
	slices.SortFunc(out, func(a, b *box) int {
		// Created and ID never change.
		if c := b.rec.Created.Compare(a.rec.Created); c != 0 {
			return c
		}
		return strings.Compare(string(a.id), string(b.id))
	})
	return out
}

// restarting is the refusal of verbs that have to wait for the restart.
func restarting(id model.ContainerID) error {
	return model.Errorf(model.Conflict, "container %s is restarting, wait until the container is running", id)
}

// notRunning is the refusal of verbs that need a process.
func notRunning(id model.ContainerID) error {
	return model.Errorf(model.Conflict, "container %s is not running", id)
}

// orEnded puts notRunning in the place of an error that says that the process is
// gone: it has ended, and that is about to be recorded.
func orEnded(id model.ContainerID, err error) error {
	if model.KindOf(err) == model.NotFound {
		return notRunning(id)
	}
	return err
}
