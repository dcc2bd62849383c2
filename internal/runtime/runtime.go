package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/images"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
	"github.com/linkspan/linkspan/internal/runtime/snapshots"
)

const (
	// openTimeout bounds the wait for containerd to answer for the first time.
	openTimeout = 30 * time.Second

	ociRuntime = "io.containerd.runc.v2"
)

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
	Logger   *slog.Logger

	patience time.Duration // for tests: see child
}

// Runtime runs containers and keeps images. All methods may be called from any
// goroutine.
type Runtime struct {
	opts   Options
	log    *slog.Logger
	host   ocispec.Host
	client *containerd.Client

	Images    *images.Store
	snapshots *snapshots.Store

	done chan struct{}  // closed by Close
	work sync.WaitGroup // goroutines that wait for processes

	mu     sync.Mutex
	closed bool
	// procs holds the FIFO ends we keep open for processes that are.
	procs map[procKey]*guards

	claims   claims // on tasks
	starting gates  // of execs
	unread   unread // output of an earlier daemon's processes
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
	for _, dir := range []string{o.DataRoot, filepath.Join(o.ExecRoot, "io")} {
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
	host.InitPath, host.ShmDir = o.InitPath, memoryDir(o.ExecRoot)
	r := &Runtime{opts: o, log: o.Logger, host: host,
		done: make(chan struct{}), procs: map[procKey]*guards{}}
	r.letShimsGoOn()
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	r.client, err = containerd.Open(ctx, containerd.Options{
		Address: o.Address, Namespace: o.Namespace, DataRoot: o.DataRoot, ExecRoot: o.ExecRoot,
		Program: o.ContainerdPath, Patience: o.patience, Logger: o.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.Images, r.snapshots = images.New(r.client, o.Logger), snapshots.New(r.client, o.Logger)
	if err := r.sweepAtOpen(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// sweepAtOpen removes what a crash left, and mends what an earlier release did not make.
func (r *Runtime) sweepAtOpen(ctx context.Context) error {
	ctx = r.client.Scope(ctx)
	if err := r.sweepShims(ctx); err != nil { // a later sweep tries again
		r.log.Warn("shims not swept", "op", "runtime.open", "err", err)
	}
	r.spawn(r.sweepLater)
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
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	close(r.done)
	for key, g := range r.procs {
		g.close()
		delete(r.procs, key)
	}
	r.mu.Unlock()
	r.work.Wait()
	if r.client == nil {
		return nil
	}
	return r.client.Close()
}

// spawn runs f beside its caller; Close waits for it. It returns false once the
// runtime is closed.
func (r *Runtime) spawn(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.work.Go(f)
	return true
}

// Shutdown is Close that also ends the child containerd, by force once ctx is
// done. Containers keep running.
func (r *Runtime) Shutdown(ctx context.Context) error {
	return errors.Join(r.client.StopChild(ctx), r.Close())
}

// Version returns containerd's version, "1.6.20".
func (r *Runtime) Version(ctx context.Context) (string, error) { return r.client.Version(ctx) }

// Snapshotter returns the name of containerd's snapshotter in use, which Docker
// calls the storage driver.
func (r *Runtime) Snapshotter() string { return r.client.Snapshotter }
