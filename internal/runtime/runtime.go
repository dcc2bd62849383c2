package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/files"
	"github.com/linkspan/linkspan/internal/runtime/imagestore"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
	"github.com/linkspan/linkspan/internal/runtime/registry"
	"github.com/linkspan/linkspan/internal/runtime/snapshots"
	"github.com/linkspan/linkspan/internal/runtime/usage"
)

// openTimeout bounds the wait for containerd to answer for the first time.
const openTimeout = 30 * time.Second

// Options say which containerd to use and where to keep files.
type Options struct {
	// Address is the socket of a containerd that somebody else runs. Empty means
	// a child of our own.
	Address string
	// Namespace is the containerd namespace that is ours; empty means "linkspan".
	// Two engines on one machine need two, because runc's state lies outside the
	// roots of both.
	Namespace string
	// Instance marks containers as this engine's. Another that uses the same
	// containerd leaves them alone, and we its.
	Instance string
	// DataRoot keeps what must survive a reboot, ExecRoot what must not.
	DataRoot string
	ExecRoot string
	// ContainerdPath is the program for the child; empty means "containerd" in
	// $PATH.
	ContainerdPath string
	// InitPath is a static init to serve `--init`; empty means one in $PATH, by the
	// names of docker-init and tini.
	InitPath string
	// Registries is the way to registries; nil means one without settings.
	Registries *registry.Registries
	// Call, if set, is what each request to containerd goes through.
	Call   grpc.UnaryClientInterceptor
	Logger *slog.Logger

	patience time.Duration // for tests: see containerd.Options
}

// Runtime is what runs containers and keeps images, put together. All methods, and those
// of its parts, may be called from any goroutine.
type Runtime struct {
	Containers *Containers
	Tasks      *Tasks
	Execs      *Execs
	Images     *imagestore.Store
	Mounted    *MountedImages
	Files      *files.Store
	Usage      *usage.Reader

	client    *containerd.Client
	snapshots *snapshots.Store
	streams   *streams
	shm       sharedMemory
	stale     *staleTasks
	life      *life
	log       *slog.Logger
}

// Open connects to containerd, starting or adopting a child if that is asked
// for, and removes snapshots and shims that a crash left without a container.
func Open(ctx context.Context, o Options) (*Runtime, error) {
	if o.Namespace == "" {
		o.Namespace = "linkspan"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registries == nil {
		o.Registries = registry.New(registry.Options{Logger: o.Logger})
	}
	fifos, shm := filepath.Join(o.ExecRoot, "io"), sharedMemory{filepath.Join(o.ExecRoot, "shm")}
	for _, dir := range []string{o.DataRoot, fifos} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("runtime directory: %w", err)
		}
	}
	if err := snapshots.PrepareTempMounts(o.ExecRoot); err != nil { // the next daemon tries again
		o.Logger.Warn("views of file systems", "op", "runtime.open", "err", err)
	}
	host, err := ocispec.ReadHost(o.Logger)
	if err != nil {
		return nil, err
	}
	host.InitPath, host.ShmDir = o.InitPath, shm.root
	r := &Runtime{life: &life{done: make(chan struct{})}, shm: shm, log: o.Logger}
	r.streams = &streams{root: fifos, life: r.life, log: r.log, held: map[procKey]*guards{}}
	r.streams.unblockShims()
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	r.client, err = containerd.Open(ctx, containerd.Options{
		Address: o.Address, Namespace: o.Namespace, DataRoot: o.DataRoot, ExecRoot: o.ExecRoot,
		Program: o.ContainerdPath, Patience: o.patience, Call: o.Call, Logger: o.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.assemble(host, o.Instance, o.Registries)
	r.Files, r.Usage = files.New(r.client, o.ExecRoot, r.log), usage.New(r.client)
	if err := r.sweepAtOpen(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// assemble makes the parts that speak with containerd.
func (r *Runtime) assemble(host ocispec.Host, instance string, registries *registry.Registries) {
	client, locks, limiter, specs := r.client, &taskLocks{}, &execLimiter{}, storedSpecs{r.client}
	known := &processes{client: client, specs: specs, cgroup2: host.Cgroup2, life: r.life, log: r.log}
	r.streams.client = client
	r.Images, r.snapshots = imagestore.New(client, registries, r.log), snapshots.New(client, r.log)
	r.Mounted = &MountedImages{client: client, images: r.Images}
	r.stale = &staleTasks{client: client, specs: specs, cgroup2: host.Cgroup2, locks: locks, life: r.life, log: r.log}
	r.Tasks = &Tasks{client: client, processes: known, streams: r.streams, shm: r.shm, locks: locks, limiter: limiter,
		stale: r.stale, log: r.log}
	r.Execs = &Execs{client: client, host: host, specs: specs, processes: known, streams: r.streams, limiter: limiter}
	r.Containers = &Containers{client: client, instance: instance, host: host, images: r.Images, snapshots: r.snapshots,
		specs: specs, processes: known, tasks: r.Tasks}
}

// sweepAtOpen removes what a crash left, and mends what an earlier release did not make.
func (r *Runtime) sweepAtOpen(ctx context.Context) error {
	ctx = r.client.Scope(ctx)
	if err := r.stale.sweepShims(ctx); err != nil { // a later sweep tries again
		r.log.Warn("shims not swept", "op", "runtime.open", "err", err)
	}
	r.life.spawn(r.stale.sweepLater)
	if err := r.snapshots.KeepSpare(ctx); err != nil {
		r.log.Warn("no spare snapshot", "op", "runtime.open", "err", err)
	}
	if err := r.sweepUnowned(ctx); err != nil {
		return err
	}
	if err := r.snapshots.InitOlder(ctx); err != nil { // a later daemon tries again
		r.log.Warn("older containers without an init layer", "op", "runtime.open", "err", err)
	}
	return nil
}

// Close lets go of containerd; the channels of Wait are closed without a word.
// The child, if there is one, and all containers keep running, to be adopted by
// the next Open.
func (r *Runtime) Close() error {
	if !r.life.end() {
		return nil
	}
	r.streams.closeAll()
	r.life.work.Wait()
	if r.client == nil {
		return nil
	}
	return r.client.Close()
}

// sweepUnowned removes writable layers and FIFOs whose container is not recorded: a
// crash between the steps of Create or of Delete leaves them.
func (r *Runtime) sweepUnowned(ctx context.Context) error {
	have, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return containerd.Faultf("open", "", "list containers", err)
	}
	layers, streams := make(map[string]bool, len(have)), make(map[string]bool, len(have))
	for _, one := range have {
		layers[one.SnapshotKey], streams[one.ID] = true, true
	}
	return errors.Join(r.snapshots.Sweep(ctx, layers), r.streams.sweep(streams), r.shm.sweep(streams))
}

// Shutdown is Close that also ends the child containerd, by force once ctx is
// done. Containers keep running.
func (r *Runtime) Shutdown(ctx context.Context) error {
	return errors.Join(r.client.StopChild(ctx), r.Close())
}

// Snapshotter returns the name of containerd's snapshotter in use, which Docker
// calls the storage driver.
func (r *Runtime) Snapshotter() string { return r.client.Snapshotter }
