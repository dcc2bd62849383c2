package workload

import (
	"maps"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// execKept is how long the outcome of an exec can be asked for, and how long one
	// that was made waits to be started.
	execKept = 5 * time.Minute
	// execBytes is how much memory the requests of execs may take that do not run.
	// Who makes execs and forgets them must not fill the memory.
	execBytes = 16 << 20
	// execCost is what one takes besides the texts of its request.
	execCost = 2 << 10
	// textCost is what a text in a list or a map takes besides its bytes, about.
	textCost = 32
)

// remember has an exec found by its ID, and forgets others for it: all that ended
// some time ago or that nobody started, and then, while those that do not run take
// too much memory, first what ended, the oldest first.
func (m *Manager) remember(e *execution) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.execs[e.id] = e
	idle, bytes := []leftover{}, 0
	for _, other := range m.execs {
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
		if left.e != e && (time.Since(left.since) > execKept || bytes > execBytes) {
			bytes -= left.bytes
			m.forgetLocked(left.e)
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

// execSize returns how much memory the request of an exec takes.
func execSize(r container.ExecCreateRequest) int {
	n := execCost + len(r.User) + len(r.WorkingDir) + len(r.DetachKeys)
	for _, text := range slices.Concat(r.Cmd, r.Env) {
		n += len(text) + textCost
	}
	return n
}

// forgetLocked drops an exec. The caller has m.mu.
func (m *Manager) forgetLocked(e *execution) {
	delete(m.execs, e.id)
	e.box.mu.Lock()
	delete(e.box.execs, e.id)
	e.box.mu.Unlock()
}

// unended returns the IDs of a container's execs that have not ended, in order: as
// with Docker an inspection shows those. It is nil if there are none.
func (b *box) unended() []string {
	b.mu.Lock()
	execs := slices.Collect(maps.Values(b.execs))
	b.mu.Unlock()
	var out []string
	for _, e := range execs {
		if left, ok := e.idle(); !ok || !left.done {
			out = append(out, e.id)
		}
	}
	slices.Sort(out)
	return out
}
