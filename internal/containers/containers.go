// Package containers is the life cycle of containers as a Docker user knows it:
// create, start, attach, exec, stop, remove, and what is told about them.
//
// It promises that a container's record, its sandbox in the engine and its task
// in the runtime follow one another, whatever fails and wherever the daemon is
// killed: every verb either completes or leaves what was there before, and
// Restore makes the rest so. It must not change the kernel or speak to the
// runtime's daemon itself: networks go through Engine, processes and images
// through the small interfaces of hands.go.
//
//	Create ─▶ folder, volumes ─▶ record and sandbox (down)
//	Start  ─▶ volumes mounted, sandbox up ─▶ files ─▶ task, output pump ─▶ process runs
//	exit   ─▶ output drained ─▶ task gone; sandbox down, record ─▶ events, waiters
//	Remove ─▶ record, sandbox gone ─▶ snapshot and files gone
//
// A container's record is part of the engine's state. What a verb changes of the
// record and of the sandbox is one op, so that both say the same whatever fails;
// what is in memory here follows once the op has taken effect.
//
// Manager has the verbs that change a life; what becomes of a container after an event
// is decided by package lifecycle. Who does the rest: registry finds containers, creator
// makes them, package reader tells of them, attacher connects clients, memberships joins
// networks, launcher and networkDown bring networks up and down, restarts starts again
// by the policy, package netfiles writes hosts and resolv.conf, namespaces joins those of
// others, outputs has output logged, sweeper and removal remove what is left.
//
// Locks. Every container has one entry.opLock, which a verb holds while it
// changes the container and which may be held across calls to the engine and the
// runtime, because two verbs on one container must not interleave; nobody waits
// for an exit with opLock held, since recording an exit needs it. Two of them
// are never held at once. entry.mu and registry.mu guard fields only and are never
// held across a call out of the package.
package containers

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/linkspan/linkspan/internal/containers/archive"
	"github.com/linkspan/linkspan/internal/containers/commit"
	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containers/dropwatch"
	"github.com/linkspan/linkspan/internal/containers/exec"
	"github.com/linkspan/linkspan/internal/containers/health"
	"github.com/linkspan/linkspan/internal/containers/netfiles"
	"github.com/linkspan/linkspan/internal/containers/prune"
	"github.com/linkspan/linkspan/internal/containers/reader"
	"github.com/linkspan/linkspan/internal/containers/records"
	"github.com/linkspan/linkspan/internal/containers/removal"
	"github.com/linkspan/linkspan/internal/containers/seats"
	"github.com/linkspan/linkspan/internal/containers/stats"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ociruntimes"
)

// Options is what a Manager is made of. Engine, the hands and Events are needed; the
// rest has defaults.
type Options struct {
	Engine      Engine
	Containers  Containers
	Tasks       Tasks
	Control     Control
	Execs       Execs
	Confinement Confinement // nil leaves the runtime's confinement untold
	Sizes       Sizes       // nil leaves sizes at 0
	Images      Images
	Files       archive.Files
	Layers      commit.Files
	Commits     commit.Images
	Volumes     Volumes
	Meter       stats.Meter
	Outputs     Outputs
	Logs        Logs
	Events      Publisher
	Drivers     driver.Set       // the kinds of networks there are
	Drops       dropwatch.Reader // nil: nobody is told why frames are dropped
	Swarm       seats.Swarm      // nil: no network reaches over hosts

	Root     string // data root: containers/ is below it
	ExecRoot string
	Defaults Defaults
	Host     HostFiles
	// StorageDriver is the name that inspect shows; "overlayfs" if empty.
	StorageDriver string
	Logger        *slog.Logger
}

// Defaults are the daemon's settings for containers that say nothing themselves.
type Defaults struct {
	netfiles.Defaults        // of hosts and resolv.conf
	LogDriver         string // "json-file" if empty
	LogOptions        map[string]string
	Init              bool
	// Changing returns those of this moment; nil stands for none that is set.
	Changing func() Changing
}

// Changing are the defaults that may be others while the daemon runs.
type Changing struct {
	ShmSize      int64 // bytes; 0 means 64 MiB
	Runtimes     ociruntimes.Set
	CgroupnsMode string // "private" or "host"; empty: as the cgroups have it
}

// HostFiles are the host's own files that containers' files are made from, and what
// else is asked of it.
type HostFiles struct {
	ResolvConf string // "/etc/resolv.conf" if empty
	Hosts      string // "/etc/hosts" if empty
	// Addresses returns those of the host's interfaces; nil asks the kernel.
	Addresses func() ([]netip.Addr, error)
	// NoIPv6 says that the kernel has no IPv6: /etc/hosts gets no IPv6 names.
	NoIPv6 bool
}

// Manager knows all containers. Its methods may be called from any goroutine.
type Manager struct {
	o      Options
	log    *slog.Logger
	closed context.Context // ends with Close: goroutines of the manager's own live in it
	close  context.CancelFunc
	ending atomic.Bool    // containers are being stopped with the daemon: none is restarted
	work   sync.WaitGroup // goroutines started by the manager

	*registry
	*announcer
	*reader.Reader
	*attacher
	*creator
	*memberships
	*prune.Pruner
	files      *netfiles.Files
	launcher   *launcher
	down       *networkDown
	restarts   *restarts
	dropWatch  *dropwatch.Watch
	sweeper    *sweeper
	netAdmin   *netAdmin
	cleanups   *removal.Finisher
	outputs    *outputs
	namespaces *namespaces
	specs      *specs
	records    records.Records
	execs      *exec.Execs
	health     *healthChecks
	volumes    Volumes
	dirs       containerfiles.Dirs
	Archive    *archive.Archive // copies files into containers and out of them
	Stats      *stats.Stats     // tells what containers use
	Commits    *commit.Committer
}

// New returns a manager that knows no containers; Restore loads them.
func New(o Options) (*Manager, error) {
	switch {
	case o.Engine == nil || o.Events == nil:
		return nil, errors.New("containers: engine and events are needed")
	case o.Containers == nil || o.Tasks == nil || o.Control == nil || o.Execs == nil || o.Images == nil || o.Volumes == nil || o.Logs == nil || o.Outputs == nil:
		return nil, errors.New("containers: a hand of the runtime is missing")
	case !filepath.IsAbs(o.Root):
		return nil, errors.New("containers: root must be an absolute path")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Host.ResolvConf == "" {
		o.Host.ResolvConf = "/etc/resolv.conf"
	}
	if o.Host.Hosts == "" {
		o.Host.Hosts = "/etc/hosts"
	}
	if o.Defaults.LogDriver == "" {
		o.Defaults.LogDriver = "json-file"
	}
	if o.Defaults.Changing == nil {
		o.Defaults.Changing = func() Changing { return Changing{} }
	}
	m := &Manager{
		o: o, log: o.Logger, records: records.Records{Engine: o.Engine, Log: o.Logger},
		registry:  &registry{engine: o.Engine, entries: map[model.ContainerID]*entry{}},
		announcer: &announcer{events: o.Events, engine: o.Engine},
	}
	m.closed, m.close = context.WithCancel(context.Background())
	m.volumes, m.dirs = o.Volumes, containerfiles.Dirs{Root: o.Root}
	m.files = &netfiles.Files{Containers: withFiles{m.registry}, Engine: o.Engine, Records: m.records, Dirs: m.dirs, Defaults: &m.o.Defaults.Defaults, Log: o.Logger,
		HostResolvConf: o.Host.ResolvConf, HostHosts: o.Host.Hosts, NoIPv6: o.Host.NoIPv6}
	m.netAdmin = &netAdmin{registry: m.registry, dirs: m.dirs, log: o.Logger}
	m.cleanups = &removal.Finisher{Engine: o.Engine, Runtime: o.Containers, Dirs: m.dirs, Closed: m.closed, Work: &m.work, Log: o.Logger}
	m.outputs = &outputs{reader: o.Outputs, logs: o.Logs, dirs: m.dirs, closed: m.closed, log: o.Logger}
	m.namespaces = &namespaces{registry: m.registry, dirs: m.dirs, log: o.Logger}
	m.specs = &specs{dirs: m.dirs, files: m.files, defaults: &m.o.Defaults, volumes: m.volumes}
	m.health = &healthChecks{announcer: m.announcer, checker: health.New(health.Options{Runtime: o.Execs, Closed: m.closed, Work: &m.work, Log: o.Logger})}
	m.execs = exec.New(exec.Options{Find: m.handle, Runtime: o.Execs, NewID: ids.New, Closed: m.closed, Work: &m.work, Log: o.Logger})
	furnish(m)
	return m, nil
}

// Execs returns the further processes in containers.
func (m *Manager) Execs() *exec.Execs { return m.execs }

// furnish gives the manager those who do its verbs.
func furnish(m *Manager) {
	o, reg, say := m.o, m.registry, m.announcer
	places := &seats.Seats{Swarm: o.Swarm, Engine: o.Engine}
	m.Reader = reader.New(reader.Options{Containers: finder{reg, say}, Engine: o.Engine, Drivers: o.Drivers, Control: o.Control, Execs: m.execs, Images: o.Images,
		Sizes: o.Sizes, Logs: o.Logs, Dirs: m.dirs, StorageDriver: o.StorageDriver})
	d := &drafts{registry: reg, announcer: say, runtime: o.Containers, specs: m.specs, dirs: m.dirs}
	m.Archive = archive.New(o.Files, d.container)
	m.Stats, m.Pruner = stats.New(o.Meter, d.metered), prune.New(removable{m}, o.Events, o.Logger)
	m.Commits = commit.New(commit.Options{Find: d.container, Files: o.Layers, Images: o.Commits, Pauser: m, Events: o.Events})
	m.attacher = &attacher{registry: reg, announcer: say, control: o.Control, outputs: m.outputs, closed: m.closed}
	m.creator = &creator{registry: reg, announcer: say, engine: o.Engine, drivers: o.Drivers, runtime: o.Containers, images: o.Images, confinement: o.Confinement,
		defaults: &m.o.Defaults, specs: m.specs, files: m.files, outputs: m.outputs, records: m.records, volumes: m.volumes, dirs: m.dirs}
	m.memberships = &memberships{registry: reg, announcer: say, engine: o.Engine, files: m.files, records: m.records, seats: places}
	m.launcher = &launcher{engine: o.Engine, records: m.records, dirs: m.dirs, tasks: o.Tasks, runtime: o.Containers, defaults: &m.o.Defaults, namespaces: m.namespaces,
		specs: m.specs, files: m.files, netAdmin: m.netAdmin, outputs: m.outputs, volumes: m.volumes, seats: places, closed: m.closed}
	m.down = &networkDown{engine: o.Engine, records: m.records, seats: places, closed: m.closed, work: &m.work, log: o.Logger}
	m.restarts = &restarts{registry: reg, host: &m.o.Host, next: m.next, start: m.start, closed: m.closed, work: &m.work, log: o.Logger}
	m.dropWatch = dropwatch.New(dropwatch.Options{Engine: o.Engine, Drivers: o.Drivers, Drops: o.Drops, Log: o.Logger})
	m.sweeper = &sweeper{registry: reg, tasks: o.Tasks, runtime: o.Containers, outputs: o.Outputs, dirs: m.dirs, log: o.Logger}
}
