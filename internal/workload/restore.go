package workload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// maxAtOnce bounds how many containers are restored or stopped at the same time.
const maxAtOnce = 32

// halfTimeout bounds the removal of a process that was never started, or is nobody's:
// the daemon shall be there soon. The next start or removal tries again.
const halfTimeout = 10 * time.Second

// Restore loads the records and makes everything agree with what the runtime
// runs: live processes are taken over with their output, ends that nobody saw
// are recorded, and what has no record is removed. Call it once, after the
// engine is open and before anything else. Errors: records that cannot be read;
// what concerns one container only is logged.
func (m *Manager) Restore(ctx context.Context) error {
	if err := m.volumes.Close(); err != nil {
		return err
	}
	for c := range m.o.Engine.Snapshot().Containers() {
		rec, err := decodeRecord(c.ID, c.Document)
		if err != nil {
			return err
		}
		rec.Name = c.Name
		m.boxes[c.ID] = newBox(rec)
	}
	for _, b := range m.boxes { // records of an earlier release have names
		if mode := b.rec.mode(); mode.IsContainer() {
			host := *b.rec.Host
			host.NetworkMode = m.byContainerID(mode)
			b.rec.Host = &host
		}
	}
	list, err := m.o.Containers.List(ctx)
	if err != nil {
		return fmt.Errorf("list containers of the runtime: %w", err)
	}
	tasks := map[model.ContainerID]model.TaskStatus{}
	for _, t := range list {
		tasks[t.ID] = t
		if b, ok := m.boxes[t.ID]; ok {
			b.made = true
		} else {
			m.sweepContainer(ctx, t)
		}
	}
	m.sweepSandboxes(ctx)
	m.sweepDirectories()
	m.reviewNetAdmin(ctx, "container.restore") // before anything is started
	m.restoreAll(ctx, tasks)
	m.keepOutputs(ctx, tasks)
	m.work.Go(m.watchDrops)
	return nil
}

// restoreAll brings all containers up to date, and only then starts any: one that
// is started may use the network of another.
func (m *Manager) restoreAll(ctx context.Context, tasks map[model.ContainerID]model.TaskStatus) {
	var mu sync.Mutex
	var ended []*box
	atOnce(m.all(), func(b *box) {
		b.turn.must()
		if tasks[b.id].State == model.TaskUnknown {
			m.restoreLater(b, tasks[b.id])
			return
		}
		runs, err := m.restore(ctx, b, tasks[b.id])
		if err != nil {
			m.log.Warn("running container not taken over yet", "container", model.Short(b.id), "op", "container.restore", "err", err)
			m.restoreLater(b, tasks[b.id])
			return
		}
		b.turn.give()
		if runs {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		ended = append(ended, b)
	})
	atOnce(ended, func(b *box) { m.afterRestore(ctx, b) })
}

// restoreLater is for a container of which the runtime does not know yet how its
// process is, or that could not be taken over. Who asks for it waits; for the others
// the daemon is there. It has the turn from the caller.
func (m *Manager) restoreLater(b *box, t model.TaskStatus) {
	m.work.Go(func() {
		runs := m.restoreAgain(b, t)
		b.turn.give()
		if !runs && m.closed.Err() == nil {
			ctx, cancel := context.WithTimeout(m.closed, verbTimeout)
			defer cancel()
			m.afterRestore(ctx, b)
		}
	})
}

// takeOverLast is the longest pause between two attempts to take over a process.
const takeOverLast = 5 * time.Second

// restoreAgain is restore that tries again for as long as a verb may take, because
// the runtime or the keeper may just be starting again: what runs is ended only if
// nobody could look after it.
func (m *Manager) restoreAgain(b *box, t model.TaskStatus) (runs bool) {
	ctx, cancel := context.WithTimeout(m.closed, verbTimeout)
	defer cancel()
	for pause := restartFirst; ; pause = min(2*pause, takeOverLast) {
		runs, err := m.restore(ctx, b, t)
		if err == nil || m.closed.Err() != nil { // the next daemon tries again
			return runs
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			if model.KindOf(err) != model.NotFound {
				continue
			}
		case <-ctx.Done():
			timer.Stop()
		}
		if m.closed.Err() != nil {
			return false
		}
		m.log.Error("running container not taken over, ending it", "container", model.Short(b.id), "op", "container.restore", "err", err)
		m.settleUnseen(b)
		return false
	}
}

// sweepContainer removes a container of the runtime that has no record: one
// whose creation or removal was cut short.
func (m *Manager) sweepContainer(ctx context.Context, t model.TaskStatus) {
	m.log.Info("removing a container without a record", "container", model.Short(t.ID), "op", "container.restore")
	ctx, cancel := context.WithTimeout(ctx, halfTimeout)
	defer cancel()
	var err error
	if t.State != model.TaskNone {
		_, err = m.o.Tasks.DeleteTask(ctx, t.ID)
	}
	if err = errors.Join(err, m.o.Containers.Delete(ctx, t.ID)); err != nil {
		m.log.Error("container without a record stays", "container", model.Short(t.ID), "op", "container.restore", "err", err)
	}
}

// sweepSandboxes removes sandboxes of containers that are not: the kernel refused to
// let go of them when the container was removed.
func (m *Manager) sweepSandboxes(ctx context.Context) {
	s := m.o.Engine.Snapshot()
	for sb := range s.Sandboxes() {
		if _, ok := s.Container(sb.Container); ok || sb.Container == "" {
			continue
		}
		m.log.Info("removing a sandbox without a container", "container", model.Short(sb.Container), "op", "container.restore")
		if _, err := m.o.Engine.Do(ctx, ops.RemoveSandbox(sb.ID)); err != nil {
			m.log.Error("sandbox without a container stays", "container", model.Short(sb.Container), "op", "container.restore", "err", err)
		}
	}
}

// sweepDirectories removes files of containers that are not. Only names that are
// IDs are ours.
func (m *Manager) sweepDirectories() {
	strangers := m.dirs.Strangers(func(id model.ContainerID) bool { return m.boxes[id] != nil })
	for _, id := range strangers {
		if err := m.dirs.Remove(id); err != nil {
			m.log.Error("files without a container stay", "container", model.Short(id), "op", "container.restore", "err", err)
		}
	}
}

// restore brings one container up to date, and tells whether it runs. It is an error
// if it runs and could not be taken over. The caller has the turn.
func (m *Manager) restore(ctx context.Context, b *box, t model.TaskStatus) (runs bool, err error) {
	rec := b.snapshot()
	log := m.log.With("container", model.Short(b.id), "op", "container.restore")
	switch t.State {
	case model.TaskRunning, model.TaskPaused, model.TaskUnknown:
		adopted, err := m.adopt(ctx, b, t)
		if adopted || err != nil {
			return adopted, err
		}
		m.forgetHalf(ctx, b, true)
	case model.TaskStopped:
		if rec.State.Running || rec.State.StartedAt.IsZero() {
			m.settle(b, t.Exit)
			break
		}
		// The daemon was killed between the start of another run and its record.
		if _, err := m.o.Tasks.DeleteTask(ctx, b.id); err != nil {
			log.Warn("ended task stays", "err", err)
		}
		m.downIfUp(ctx, b)
	default: // created and never started, or none at all
		m.forgetHalf(ctx, b, t.State == model.TaskCreated)
	}
	return false, nil
}

// forgetHalf removes what there is of a process that was never started, and
// records the end of one that should be there and is not.
func (m *Manager) forgetHalf(ctx context.Context, b *box, made bool) {
	if s := b.snapshot().State; s.Running && !s.Restarting {
		m.settleUnseen(b)
		return
	}
	if made {
		limited, cancel := context.WithTimeout(ctx, halfTimeout)
		defer cancel()
		if _, err := m.o.Tasks.DeleteTask(limited, b.id); err != nil && model.KindOf(err) != model.NotFound {
			m.log.Warn("half a start stays", "container", model.Short(b.id), "op", "container.restore", "err", err)
		}
	}
	m.downIfUp(ctx, b)
}

// adopt takes over a live process: its output is read on, its end is awaited. False
// without an error if the process was never started.
func (m *Manager) adopt(ctx context.Context, b *box, t model.TaskStatus) (bool, error) {
	task, err := m.o.Tasks.Reattach(ctx, b.id)
	if err != nil || !task.Started {
		return false, err
	}
	if err := m.readOn(ctx, b, task); err != nil {
		return false, err
	}
	r := newRun(b, task.Stdin)
	exits, err := m.o.Tasks.Wait(m.closed, b.id)
	if err != nil {
		r.close()
		return false, err
	}
	b.mu.Lock()
	b.run = r
	s := &b.rec.State
	started := s.StartedAt
	if !s.Running || started.IsZero() { // the daemon ended between start and record
		started = time.Now().UTC()
	}
	paused := t.State == model.TaskPaused || t.State == model.TaskUnknown && s.Paused
	changed := !s.Running || s.Pid != task.Pid || s.Paused != paused
	*s = progress{Running: true, Paused: paused, Pid: task.Pid, StartedAt: started, FinishedAt: s.FinishedAt}
	b.mu.Unlock()
	m.beginHealth(b)
	if changed {
		m.records.SaveLogged(ctx, b.snapshot().plain(), "container.restore")
	}
	if id := b.snapshot().Sandbox; id != "" {
		if sb, ok := m.o.Engine.Snapshot().Sandbox(id); ok && !sb.Up {
			m.log.Warn("a running container has no network", "container", model.Short(b.id), "op", "container.restore")
		}
	}
	m.catchUpFiles(ctx, b)
	m.work.Go(func() { m.watch(b, r, exits) })
	return true, nil
}

// readOn has the output of a process read that was there before the daemon.
func (m *Manager) readOn(ctx context.Context, b *box, task *model.Task) error {
	if err := m.openOutput(ctx, b, task.Pipes); err != nil {
		return err
	}
	return m.o.Outputs.Begun(ctx, b.id)
}

// settle records an end that nobody saw.
func (m *Manager) settle(b *box, exit model.Exit) {
	m.settleRun(b, newRun(b, nil), exit)
}

// settleUnseen is settle where not even the runtime knows of the end: the machine
// ended.
func (m *Manager) settleUnseen(b *box) {
	r := newRun(b, nil)
	r.unseen = true
	b.edit(func(rec *record) { rec.RestartCount = 0 })
	m.settleRun(b, r, model.Exit{Code: exitUnseen, At: time.Now()})
}

func (m *Manager) settleRun(b *box, r *run, exit model.Exit) {
	b.mu.Lock()
	if b.rec.State.StartedAt.IsZero() {
		b.rec.State.StartedAt = exit.At.UTC()
	}
	b.mu.Unlock()
	m.exited(b, r, exit)
}

// downIfUp takes down a sandbox that a crash left up without a process.
func (m *Manager) downIfUp(ctx context.Context, b *box) {
	if sb, ok := m.o.Engine.Snapshot().Sandbox(b.snapshot().Sandbox); ok && sb.Up {
		rec := b.snapshot()
		m.sandboxDown(ctx, b, rec, rec.State.Restarting || wantsBoot(rec))
	}
}

// afterRestore does what an end asks for: removal with --rm, or another run.
// unless-stopped is what the user's stop outlives.
func (m *Manager) afterRestore(ctx context.Context, b *box) {
	b.turn.must()
	defer b.turn.give()
	rec := b.snapshot()
	switch {
	case rec.Host.AutoRemove && !rec.State.StartedAt.IsZero():
		if err := m.remove(ctx, b, RemoveOptions{Volumes: true}); err != nil {
			m.log.Error("automatic removal", "container", model.Short(b.id), "op", "container.restore", "err", err)
		}
	case rec.State.Restarting, !rec.State.StartedAt.IsZero() && wantsBoot(rec):
		b.edit(func(r *record) { r.State.Running, r.State.Restarting, r.State.Retries = true, true, 0 })
		m.restartLater(b)
	}
}

// wantsBoot tells whether a container that does not run is to be started with
// the daemon.
func wantsBoot(r record) bool {
	policy := r.Host.RestartPolicy
	return policy.IsAlways() || policy.IsUnlessStopped() && !r.Stopped
}

// Close lets go of all containers, which run on: the next manager takes them over.
func (m *Manager) Close(ctx context.Context) error {
	m.close()
	idle := make(chan struct{})
	go func() {
		m.work.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close: work goes on: %w", context.Cause(ctx))
	}
}

// StopAll stops what runs, some at a time, each with its own signal and patience;
// ctx bounds the patience, after which they are killed. It comes before a Close
// that no container shall outlive: none is restarted any more. The user did not
// ask for it: the next manager starts again what has such a restart policy.
func (m *Manager) StopAll(ctx context.Context) error {
	m.ending.Store(true)
	var mu sync.Mutex
	var errs []error
	atOnce(m.all(), func(b *box) {
		if b.current() == nil {
			return
		}
		if err := m.stop(ctx, b, StopOptions{unasked: true}); err != nil && model.KindOf(err) != model.NotModified {
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		}
	})
	return errors.Join(errs...)
}

// atOnce calls f for every box, some at a time, and waits for all.
func atOnce(boxes []*box, f func(*box)) {
	var all sync.WaitGroup
	places := make(chan struct{}, maxAtOnce)
	for _, b := range boxes {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			f(b)
		})
	}
	all.Wait()
}
