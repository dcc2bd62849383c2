package containers

import (
	"strconv"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/lifecycle"
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
func (m *Manager) watch(b *entry, r *run, exits <-chan model.Exit) {
	exit, ok := <-exits
	if !ok {
		return // the manager was closed; the container runs on
	}
	m.outputs.drained(b)
	b.opLock.acquireNow()
	do := m.exited(b, r, exit)
	if do.Remove {
		ctx, cancel := cleanup()
		if err := m.remove(ctx, b, RemoveOptions{Volumes: true}); err != nil {
			m.log.Error("automatic removal", "container", model.Short(b.id), "op", "container.exit", "err", err)
		}
		cancel()
	}
	b.opLock.release()
	if do.Restart {
		m.restarts.restartLater(b)
	}
}

// exited makes everything follow the end of a process, in the order in which it
// may be seen: the network is down and the state stored before anybody can see or is
// told of it. It returns what is to be done then: another run, or removal. The caller has
// opLock.
func (m *Manager) exited(b *entry, r *run, exit model.Exit) lifecycle.Action {
	ctx, cancel := cleanup()
	defer cancel()
	m.health.endHealth(b)
	before := b.snapshot()
	after, do := m.next(b, lifecycle.Event{What: lifecycle.Ended, Code: exit.Code, Unseen: r.unseen})
	s := &after.State
	s.Pid, s.ExitCode, s.OOMKilled, s.FinishedAt = 0, exit.Code, exit.OOMKilled, exit.At.UTC()
	down := make(chan struct{})
	go func() {
		defer close(down)
		m.down.sandboxDown(ctx, b, after, do.KeepAddresses)
	}()
	if _, err := m.o.Tasks.DeleteTask(ctx, b.id); err != nil && model.KindOf(err) != model.NotFound {
		m.log.Warn("task of an ended container stays", "container", model.Short(b.id), "op", "container.exit", "err", err)
	}
	<-down
	b.mu.Lock()
	b.run, b.rec = nil, after
	b.mu.Unlock()
	m.netAdmin.takeBack(ctx, b.snapshot(), "container.exit")
	if exit.OOMKilled {
		m.say(b, events.ActionOOM)
	}
	m.sayNetworks(events.ActionDisconnect, b)
	m.volumes.Unmount(b.id)
	m.say(b, events.ActionDie, "exitCode", strconv.Itoa(exit.Code),
		"execDuration", seconds(exit.At.Sub(before.State.StartedAt)))
	m.outputs.closeOutput(ctx, b)
	close(r.ended)
	b.wake(int64(exit.Code), "", false)
	r.close() // costs a request where there is an input: nobody waits for it here
	return do
}

func (b *entry) isGone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gone
}
