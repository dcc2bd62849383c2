package workload

import (
	"context"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// drainLimit is how long output may go on after the process has ended: somebody
	// outside the container holds its end of the stream.
	drainLimit = 12 * time.Second

	// exitUnseen is the code of a process that ended with the machine or the
	// runtime, as with Docker.
	exitUnseen = 255
)

// watch waits for the end of a run and records it.
func (m *Manager) watch(b *box, r *run, exits <-chan model.Exit) {
	exit, ok := <-exits
	if !ok {
		return // the manager was closed; the container runs on
	}
	m.drained(b)
	b.turn.must()
	again := m.exited(b, r, exit)
	auto := b.snapshot().Host.AutoRemove && !again
	if auto {
		ctx, cancel := m.cleanup()
		if err := m.remove(ctx, b, RemoveOptions{Volumes: true}); err != nil {
			m.log.Error("automatic removal", "container", model.Short(b.id), "op", "container.exit", "err", err)
		}
		cancel()
	}
	b.turn.give()
	if again {
		m.restartLater(b)
	}
}

// ended returns the record after the end of a run.
func (r record) ended(exit model.Exit, again, unseen bool) record {
	s := &r.State
	s.Running, s.Paused, s.Restarting = again, false, again
	s.Pid, s.ExitCode, s.OOMKilled, s.FinishedAt = 0, exit.Code, exit.OOMKilled, exit.At.UTC()
	if again && !unseen {
		r.RestartCount++
	}
	return r
}

// exited makes everything follow the end of a process, in the order in which it
// may be seen: the network is down and the state stored before anybody can see or is
// told of it. It returns whether the restart policy wants
// another run. The caller has the turn.
func (m *Manager) exited(b *box, r *run, exit model.Exit) (again bool) {
	ctx, cancel := m.cleanup()
	defer cancel()
	m.endHealth(b)
	before := b.snapshot()
	again = wantsRestart(before, exit) && !m.ending.Load() && m.closed.Err() == nil
	after := before.ended(exit, again, r.unseen)
	down := make(chan struct{})
	go func() {
		defer close(down)
		m.sandboxDown(ctx, b, after, m.comesBack(b, again))
	}()
	if _, err := m.o.Tasks.DeleteTask(ctx, b.id); err != nil && model.KindOf(err) != model.NotFound {
		m.log.Warn("task of an ended container stays", "container", model.Short(b.id), "op", "container.exit", "err", err)
	}
	<-down
	b.mu.Lock()
	b.run, b.rec = nil, after
	b.mu.Unlock()
	m.takeBack(ctx, b.snapshot(), "container.exit")
	if exit.OOMKilled {
		m.say(b, events.ActionOOM)
	}
	m.sayNetworks(events.ActionDisconnect, b)
	m.say(b, events.ActionDie, "exitCode", strconv.Itoa(exit.Code),
		"execDuration", seconds(exit.At.Sub(before.State.StartedAt)))
	m.closeOutput(ctx, b)
	close(r.ended)
	b.wake(int64(exit.Code), "", false)
	r.close() // costs a request where there is an input: nobody waits for it here
	return again
}

// comesBack tells whether a container that has ended is to run again without
// being asked: by its policy, by a restart that the user asked for, or with the
// next daemon.
func (m *Manager) comesBack(b *box, again bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return again || b.returning || m.ending.Load() || m.closed.Err() != nil
}

// waiter is somebody who waits for an exit or a removal.
type waiter struct {
	removal bool // only a removal will do
	tell    chan container.WaitResponse
}

// Wait returns a channel that yields once the condition holds: not-running at
// once if there is no process, next-exit only after a run that ends from now on,
// removed when the container is gone. Whoever gets the channel misses nothing
// that happens afterwards. It is closed without a word when ctx ends.
func (m *Manager) Wait(ctx context.Context, ref string, condition container.WaitCondition) (<-chan container.WaitResponse, error) {
	switch condition {
	case "", container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return nil, model.Errorf(model.Invalid, "invalid condition: %q", condition)
	}
	b, err := m.find(ref)
	if err != nil {
		return nil, err
	}
	w := &waiter{removal: condition == container.WaitConditionRemoved, tell: make(chan container.WaitResponse, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := condition == "" || condition == container.WaitConditionNotRunning
	if b.gone || now && !b.rec.State.Running {
		w.tell <- container.WaitResponse{StatusCode: int64(b.rec.State.ExitCode)}
		close(w.tell)
		return w.tell, nil
	}
	b.waiters[w] = true
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.waiters[w] {
			delete(b.waiters, w)
			close(w.tell)
		}
	})
	return w.tell, nil
}

// wake tells those who wait for an exit or, if removed, all.
func (b *box) wake(code int64, problem string, removed bool) {
	response := container.WaitResponse{StatusCode: code}
	if problem != "" {
		response.Error = &container.WaitExitError{Message: problem}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.waiters {
		if removed || !w.removal {
			w.tell <- response // there is room for one, and there is only this one
			close(w.tell)
			delete(b.waiters, w)
		}
	}
}

func (b *box) isGone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gone
}
