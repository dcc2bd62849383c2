package exec

import (
	"maps"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// keptFor is how long the outcome of an exec can be asked for, and how long one
	// that was made waits to be started.
	keptFor = 5 * time.Minute
	// maxBytes is how much memory the requests of execs may take that do not run.
	// Who makes execs and forgets them must not fill the memory.
	maxBytes = 16 << 20
	// cost is what one takes besides the texts of its request.
	cost = 2 << 10
	// textCost is what a text in a list or a map takes besides its bytes, about.
	textCost = 32
)

// remember has an exec found by its ID, and forgets others for it: all that ended
// some time ago or that nobody started, and then, while those that do not run take
// too much memory, first what ended, the oldest first.
func (x *Execs) remember(e *execution) {
	x.mu.Lock()
	defer x.mu.Unlock()
	id := e.container.ID()
	if x.byContainer[id] == nil {
		x.byContainer[id] = map[string]*execution{}
	}
	x.byID[e.id], x.byContainer[id][e.id] = e, e
	idle, bytes := []leftover{}, 0
	for _, other := range x.byID {
		if left, ok := other.idle(); ok {
			idle = append(idle, left)
			bytes += left.bytes
		}
	}
	slices.SortFunc(idle, func(a, b leftover) int {
		if a.done != b.done {
			return model.CompareBool(b.done, a.done)
		}
		return a.since.Compare(b.since)
	})
	for _, left := range idle {
		if left.e != e && (time.Since(left.since) > keptFor || bytes > maxBytes) {
			bytes -= left.bytes
			x.forgetLocked(left.e)
		}
	}
}

// leftover is an exec that does not run.
type leftover struct {
	e     *execution
	done  bool // it has ended
	since time.Time
	bytes int
}

// idle returns what an exec takes that does not run; false if it runs, or is about
// to.
func (e *execution) idle() (leftover, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := leftover{e: e, done: e.exit != nil, since: e.created, bytes: e.bytes}
	if out.done {
		out.since = e.ended
	}
	return out, out.done || !e.started
}

// size returns how much memory the request of an exec takes.
func size(r container.ExecCreateRequest) int {
	n := cost + len(r.User) + len(r.WorkingDir) + len(r.DetachKeys)
	for _, text := range slices.Concat(r.Cmd, r.Env) {
		n += len(text) + textCost
	}
	return n
}

// forgetLocked drops an exec. The caller has x.mu.
func (x *Execs) forgetLocked(e *execution) {
	id := e.container.ID()
	delete(x.byID, e.id)
	delete(x.byContainer[id], e.id)
	if len(x.byContainer[id]) == 0 {
		delete(x.byContainer, id)
	}
}

// Forget drops all execs of a container that is gone.
func (x *Execs) Forget(id model.ContainerID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.byContainer[id] {
		x.forgetLocked(e)
	}
}

// Unended returns the IDs of a container's execs that have not ended, in order: as
// with Docker an inspection shows those. It is nil if there are none.
func (x *Execs) Unended(id model.ContainerID) []string {
	x.mu.Lock()
	execs := slices.Collect(maps.Values(x.byContainer[id]))
	x.mu.Unlock()
	var out []string
	for _, e := range execs {
		if left, ok := e.idle(); !ok || !left.done {
			out = append(out, e.id)
		}
	}
	slices.Sort(out)
	return out
}
