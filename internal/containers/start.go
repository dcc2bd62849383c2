package containers

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containers/mounts"
	"github.com/linkspan/linkspan/internal/containers/netfiles"
	"github.com/linkspan/linkspan/internal/containers/ocierror"
	"github.com/linkspan/linkspan/internal/containers/records"
	"github.com/linkspan/linkspan/internal/containers/seats"
	"github.com/linkspan/linkspan/internal/containerview"
	"github.com/linkspan/linkspan/internal/lifecycle"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

const (
	// verbTimeout bounds a verb that its caller cannot break off any more, and
	// every clean-up.
	verbTimeout = 2 * time.Minute
)

// Start starts a container that does not run. NotModified if it runs already.
func (m *Manager) Start(ctx context.Context, ref string) error {
	b, err := m.acquire(ctx, ref)
	if err != nil {
		return err
	}
	defer b.opLock.release()
	after, do := m.next(b, lifecycle.Event{What: lifecycle.StartAsked})
	if do.Hurry {
		m.restarts.hurry(b)
	}
	switch do.Do {
	case lifecycle.RefusePaused:
		return model.Errorf(model.Conflict, "cannot start a paused container, try unpause instead")
	case lifecycle.RefuseRunning: // also one that waits for its restart
		return model.Errorf(model.NotModified, "container %s is already running", b.id)
	}
	b.set(after)
	b.mu.Lock()
	b.pause = 0
	b.mu.Unlock()
	return m.start(ctx, b)
}

// start launches a container that does not run. The caller holds opLock. A client that goes away half-way changes
// nothing: what was begun is done.
func (m *Manager) start(ctx context.Context, b *entry) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), verbTimeout)
	defer cancel()
	l, err := m.launcher.launch(ctx, b)
	if err != nil {
		return m.startFailed(b, l, err)
	}
	after, _ := m.next(b, lifecycle.Event{What: lifecycle.Launched})
	after.State = progress{Running: after.State.Running, Pid: l.pid, StartedAt: time.Now().UTC(), FinishedAt: after.State.FinishedAt}
	b.mu.Lock()
	b.run, b.rec = l.run, after
	b.mu.Unlock()
	m.health.beginHealth(b)
	m.records.SaveLogged(ctx, b.snapshot().plain(), "container.start")
	m.sayNetworks(events.ActionConnect, b)
	m.say(b, events.ActionStart)
	m.work.Go(func() { m.watch(b, l.run, l.exits) })
	return nil
}

// launcher brings networks and processes of containers up.
type launcher struct {
	engine     Engine
	records    records.Records
	dirs       containerfiles.Dirs
	tasks      Tasks
	runtime    Containers
	defaults   *Defaults
	namespaces *namespaces
	specs      *specs
	files      *netfiles.Files
	netAdmin   *netAdmin
	outputs    *outputs
	volumes    Volumes
	seats      *seats.Seats
	closed     context.Context // ends with the manager
}

// launched is what a start has made so far.
type launched struct {
	run   *run
	pid   int
	exits <-chan model.Exit
}

// launch brings a container's network and process up. After an error the caller
// calls startFailed with whatever there is.
func (la *launcher) launch(ctx context.Context, b *entry) (launched, error) {
	rec := b.snapshot()
	where, err := la.namespaces.netns(rec)
	if err != nil {
		return launched{}, err
	}
	la.namespaces.findNetns(ctx, rec, where)
	if err := la.namespaces.checkTargets(rec, la.engine.Snapshot()); err != nil {
		return launched{}, err
	}
	joined, err := la.namespaces.join(rec)
	if err != nil {
		return launched{}, err
	}
	settled, err := la.volumes.Mount(ctx, rec.ID, mounts.Uses(la.volumes, rec.plain()))
	if err != nil {
		return launched{}, err
	}
	f := la.dirs.Files(rec.ID)
	// The network and the file system do not need each other.
	up := make(chan error, 1)
	go func() { up <- la.sandboxUp(ctx, rec) }()
	made := la.ensureMade(ctx, b, la.specs.spec(rec, where, f))
	if err := <-up; err != nil {
		return launched{}, networkingError(err)
	}
	if made != nil {
		return launched{}, made
	}
	if err := la.files.Write(b, where.owner); err != nil {
		return launched{}, networkingError(err)
	}
	la.files.MoveLinksTo(rec.plain())
	if err := la.netAdmin.lend(ctx, rec, where.owner); err != nil {
		return launched{}, networkingError(err)
	}
	task, err := la.tasks.NewTask(ctx, b.id, model.StreamOptions{
		TTY: rec.Config.Tty, Stdin: rec.Config.OpenStdin, SharedMemory: sharedMemory(rec),
		Open: func(p model.Pipes) error { return la.outputs.openOutput(ctx, b, p, false) },
	})
	if err != nil {
		return launched{}, err
	}
	settled() // the runtime has mounted all of it
	l := launched{run: newRun(b, task.Stdin), pid: task.Pid}
	// Waiting begins before the process does: no exit can be missed.
	if l.exits, err = la.tasks.Wait(la.closed, b.id); err != nil {
		return l, err
	}
	if err := joined(); err != nil {
		return l, err
	}
	if err := la.tasks.Start(ctx, b.id); err != nil {
		return l, err
	}
	return l, la.outputs.reader.Begun(ctx, b.id)
}

// sandboxUp brings a container's network up. The record that is stored with it says
// that the container is meant to run, not yet that it does.
func (la *launcher) sandboxUp(ctx context.Context, r record) error {
	if r.Sandbox == "" {
		return nil
	}
	up, used, err := la.seats.Take(ctx, r.ID, r.Sandbox)
	defer used()
	if err != nil {
		return err
	}
	up = append(up, ops.StartSandbox(r.Sandbox))
	if now := la.files.Resolving(r.plain()); !sameResolving(la.engine.Snapshot(), r.Sandbox, now) {
		up = append([]ops.Op{ops.SetResolving(r.Sandbox, now)}, up...) // the host's file has changed
	}
	return la.records.Commit(ctx, r.plain(), up...)
}

// ensureMade makes the runtime's container at its first start. Later ones bring
// its environment up to date where that tells of links: their targets may have
// other addresses by now.
func (la *launcher) ensureMade(ctx context.Context, b *entry, spec model.ContainerSpec) error {
	b.mu.Lock()
	made, tried := b.made, b.tried && !b.draft
	b.tried = true
	b.mu.Unlock()
	switch {
	case made && la.defaults.LinkEnvironment:
		return la.runtime.Renew(ctx, spec)
	case made:
		return nil
	}
	if tried {
		if err := la.runtime.Delete(ctx, b.id); err != nil {
			return err
		}
	}
	if err := la.runtime.Create(ctx, spec); err != nil {
		return err
	}
	b.mu.Lock()
	b.made, b.draft = true, false
	b.mu.Unlock()
	return nil
}

// networkingError puts Docker's words before an error of the engine, keeping its
// kind.
func networkingError(err error) error {
	return model.Errorf(model.KindOf(err), containerview.NetworkingPrefix+"%w", err)
}

// startFailed takes back what a start has made, records why, and returns the
// error for the caller.
func (m *Manager) startFailed(b *entry, l launched, cause error) error {
	ctx, cancel := cleanup()
	defer cancel()
	if _, err := m.o.Tasks.DeleteTask(ctx, b.id); err != nil && model.KindOf(err) != model.NotFound {
		m.log.Warn("task of a failed start stays", "container", model.Short(b.id), "op", "container.start", "err", err)
	}
	if l.run != nil {
		l.run.close()
		close(l.run.ended)
	}
	code, kind := ocierror.ExitCode(cause)
	after, do := m.next(b, lifecycle.Event{What: lifecycle.LaunchFailed, Gone: m.launcher.lacks(b.snapshot())})
	after.State.Error, after.State.ExitCode, after.State.Pid = firstLine(cause), code, 0
	m.down.sandboxDown(ctx, b, after, do.KeepAddresses)
	b.set(after)
	m.volumes.Unmount(b.id)
	m.netAdmin.takeBack(ctx, b.snapshot(), "container.start")
	m.outputs.closeOutput(ctx, b)
	if do.Remove {
		if err := m.remove(ctx, b, RemoveOptions{Volumes: true}); err != nil {
			m.log.Error("automatic removal", "container", model.Short(b.id), "op", "container.start", "err", err)
		}
	}
	if model.KindOf(cause) == model.Internal && kind != model.Internal {
		return model.Errorf(kind, "%w", cause)
	}
	return cause
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// cleanup returns a context for what must be done even if the caller has gone.
func cleanup() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), verbTimeout)
}

// netns is where a container's network is, and what belongs to whoever owns it.
type netns struct {
	path                 string // empty: the host's
	owner                model.ContainerID
	hostname, domainname string
}

// netns finds the network namespace for a start. In container: mode the other's
// namespace is reached by a link that every start sets anew, because the path is
// part of what the runtime keeps.
func (n *namespaces) netns(r record) (netns, error) {
	own := netns{owner: r.ID, hostname: r.Config.Hostname, domainname: r.Config.Domainname}
	switch mode := r.mode(); {
	case mode.IsHost():
		return own, nil
	case !mode.IsContainer():
		own.path = filepath.Join(model.NetnsDir, model.NamespaceOf(r.ID))
		return own, nil
	}
	other, err := n.shared(r)
	if err != nil {
		return netns{}, err
	}
	out := netns{owner: other.ID, hostname: other.Config.Hostname, domainname: other.Config.Domainname}
	if other.mode().IsContainer() {
		further, err := n.netns(other)
		if err != nil {
			return netns{}, err
		}
		out.owner, out.hostname, out.domainname = further.owner, further.hostname, further.domainname
		if further.path == "" {
			return out, nil
		}
	}
	if other.mode().IsHost() {
		return out, nil
	}
	out.path = n.dirs.Netns(r.ID)
	return out, containerfiles.Link(filepath.Join(model.NetnsDir, model.NamespaceOf(out.owner)), out.path)
}

// findNetns has the name of a namespace mended that a container is about to join.
// Somebody may have taken it away while the other container runs.
func (n *namespaces) findNetns(ctx context.Context, r record, where netns) {
	if !r.mode().IsContainer() || where.path == "" || containerfiles.SameDevice(where.path, "/proc/self/ns/net") {
		return
	}
	if _, err := n.engine.Resync(ctx); err != nil {
		n.log.Warn("the network of the other container is not found", "container", model.Short(where.owner), "op", "container.start", "err", err)
	}
}

// shared returns the record of the container whose network r uses.
func (n *namespaces) shared(r record) (record, error) {
	b, err := n.find(r.mode().ConnectedContainer())
	if err != nil {
		return record{}, model.Errorf(model.KindOf(err), "joining network namespace of container: %w", err)
	}
	if b.id == r.ID {
		return record{}, model.Errorf(model.Unfit, "cannot join own network namespace")
	}
	other := b.snapshot()
	switch {
	case other.State.Restarting:
		return record{}, model.Errorf(model.Conflict, "container %s is restarting, wait until the container is running", other.ID)
	case !other.State.Running:
		return record{}, model.Errorf(model.Conflict, "cannot join network namespace of a non running container: container %s is %s", other.ID, other.status())
	}
	return other, nil
}

func sameResolving(s *state.Snapshot, id model.SandboxID, r model.Resolving) bool {
	sb, ok := s.Sandbox(id)
	return ok && sb.DNS.NDots == r.NDots && slices.Equal(sb.DNS.Servers, r.Servers)
}
