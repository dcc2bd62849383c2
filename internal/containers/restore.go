package containers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/containers/mounts"
	"github.com/linkspan/linkspan/internal/lifecycle"
	"github.com/linkspan/linkspan/internal/model"
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
	for c := range m.o.Engine.Snapshot().Containers() {
		rec, err := decodeRecord(c.ID, c.Document)
		if err != nil {
			return err
		}
		rec.Name = c.Name
		m.entries[c.ID] = newEntry(rec)
	}
	for _, b := range m.entries { // records of an earlier release have names
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
		if b, ok := m.entries[t.ID]; ok {
			b.made, b.draft = !t.Draft, t.Draft
		} else {
			m.sweeper.sweepContainer(ctx, t)
		}
	}
	for _, b := range m.entries {
		task := tasks[b.id].State
		m.volumes.Adopt(b.id, mounts.Uses(m.volumes, b.rec.plain()), task != "" && task != model.TaskNone && task != model.TaskStopped)
	}
	m.volumes.Adopted()
	m.sweeper.sweepSandboxes(ctx)
	m.sweeper.sweepDirectories()
	m.netAdmin.reviewNetAdmin(ctx, "container.restore") // before anything is started
	m.restoreAll(ctx, tasks)
	m.sweeper.keepOutputs(ctx, tasks)
	m.work.Go(func() { m.dropWatch.Run(m.closed) })
	return nil
}

// restoreAll brings all containers up to date, and only then starts any: one that
// is started may use the network of another.
func (m *Manager) restoreAll(ctx context.Context, tasks map[model.ContainerID]model.TaskStatus) {
	var mu sync.Mutex
	var ended []*entry
	atOnce(m.all(), func(b *entry) {
		b.opLock.acquireNow()
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
		b.opLock.release()
		if runs {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		ended = append(ended, b)
	})
	atOnce(ended, func(b *entry) { m.afterRestore(ctx, b) })
}

// restoreLater is for a container of which the runtime does not know yet how its
// process is, or that could not be taken over. Who asks for it waits; for the others
// the daemon is there. The caller has acquired opLock for it.
func (m *Manager) restoreLater(b *entry, t model.TaskStatus) {
	m.work.Go(func() {
		runs := m.restoreAgain(b, t)
		b.opLock.release()
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
func (m *Manager) restoreAgain(b *entry, t model.TaskStatus) (runs bool) {
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

// restore brings one container up to date, and tells whether it runs. It is an error
// if it runs and could not be taken over. The caller holds opLock.
func (m *Manager) restore(ctx context.Context, b *entry, t model.TaskStatus) (runs bool, err error) {
	_, do := m.next(b, lifecycle.Event{What: lifecycle.Found, Task: t.State})
	if do.Do == lifecycle.Adopt {
		adopted, err := m.adopt(ctx, b, t)
		if adopted || err != nil {
			return adopted, err
		}
		_, do = m.next(b, lifecycle.Event{What: lifecycle.Found, Task: model.TaskCreated}) // it never ran
	}
	log := m.log.With("container", model.Short(b.id), "op", "container.restore")
	switch do.Do {
	case lifecycle.RecordEnd:
		m.settleRun(b, newRun(b, nil), t.Exit)
		return false, nil
	case lifecycle.RecordUnseenEnd:
		m.settleUnseen(b)
		return false, nil
	case lifecycle.DiscardEnded:
		if _, err := m.o.Tasks.DeleteTask(ctx, b.id); err != nil {
			log.Warn("ended task stays", "err", err)
		}
	case lifecycle.DiscardUnstarted:
		limited, cancel := context.WithTimeout(ctx, halfTimeout)
		defer cancel()
		if _, err := m.o.Tasks.DeleteTask(limited, b.id); err != nil && model.KindOf(err) != model.NotFound {
			log.Warn("half a start stays", "err", err)
		}
	}
	m.downIfUp(ctx, b, do.KeepAddresses)
	return false, nil
}

// settleUnseen is settleRun where not even the runtime knows of the end: the machine
// ended.
func (m *Manager) settleUnseen(b *entry) {
	r := newRun(b, nil)
	r.unseen = true
	m.settleRun(b, r, model.Exit{Code: exitUnseen, At: time.Now()})
}

// settleRun records an end that nobody saw.
func (m *Manager) settleRun(b *entry, r *run, exit model.Exit) {
	b.mu.Lock()
	if b.rec.State.StartedAt.IsZero() {
		b.rec.State.StartedAt = exit.At.UTC()
	}
	b.mu.Unlock()
	m.exited(b, r, exit)
}

// downIfUp takes down a sandbox that a crash left up without a process.
func (m *Manager) downIfUp(ctx context.Context, b *entry, keepAddresses bool) {
	if sb, ok := m.o.Engine.Snapshot().Sandbox(b.snapshot().Sandbox); ok && sb.Up {
		m.down.sandboxDown(ctx, b, b.snapshot(), keepAddresses)
	}
}

// afterRestore does what an end asks for: removal with --rm, or another run.
func (m *Manager) afterRestore(ctx context.Context, b *entry) {
	b.opLock.acquireNow()
	defer b.opLock.release()
	after, do := m.next(b, lifecycle.Event{What: lifecycle.Restored})
	switch {
	case do.Remove:
		if err := m.remove(ctx, b, RemoveOptions{Volumes: true}); err != nil {
			m.log.Error("automatic removal", "container", model.Short(b.id), "op", "container.restore", "err", err)
		}
	case do.Restart:
		b.set(after)
		m.restarts.restartLater(b)
	}
}

// atOnce calls f for every entry, some at a time, and waits for all.
func atOnce(entries []*entry, f func(*entry)) {
	var all sync.WaitGroup
	places := make(chan struct{}, maxAtOnce)
	for _, b := range entries {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			f(b)
		})
	}
	all.Wait()
}
