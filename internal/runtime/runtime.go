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

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

const (
	// callTimeout bounds one request to containerd that should be quick.
	callTimeout = 2 * time.Minute
	// openTimeout bounds the wait for containerd to answer for the first time.
	openTimeout = 30 * time.Second

	ociRuntime       = "io.containerd.runc.v2"
	overlaySnapshots = "overlayfs"
	nativeSnapshots  = "native"
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
	opts        Options
	log         *slog.Logger
	host        ocispec.Host
	client      *containerd.Client
	child       *child // nil with somebody else's containerd
	address     string // of the socket
	snapshotter string
	facts       *imageFacts

	done chan struct{}  // closed by Close
	work sync.WaitGroup // goroutines that wait for processes

	layers     sync.Mutex // held while stray layers are removed
	initLayers sync.Mutex // held while one is made
	filling    sync.Mutex // held while a volume is filled

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
	if err := prepareViews(o.ExecRoot); err != nil { // the next daemon tries again
		o.Logger.Warn("views of file systems", "op", "runtime.open", "err", err)
	}
	host, err := ocispec.ReadHost(o.Logger)
	if err != nil {
		return nil, err
	}
	host.InitPath, host.ShmDir = o.InitPath, memoryDir(o.ExecRoot)
	r := &Runtime{opts: o, log: o.Logger, host: host, facts: newImageFacts(),
		done: make(chan struct{}), procs: map[procKey]*guards{}}
	r.letShimsGoOn()
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if r.address = o.Address; r.address == "" {
		if r.child, err = startChild(ctx, o); err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.address = r.child.socket()
	}
	if err := r.connect(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// connect makes the client, chooses the snapshotter and sweeps.
func (r *Runtime) connect(ctx context.Context) error {
	client, err := containerd.New(r.address,
		containerd.WithDefaultNamespace(r.opts.Namespace),
		containerd.WithExtraDialOpts(dialOptions()))
	if err != nil {
		return faultf("open", r.address, "connect to containerd", err)
	}
	r.client = client
	ctx = namespaces.WithNamespace(ctx, r.opts.Namespace)
	version, err := client.Version(ctx)
	if err != nil {
		return faultf("open", r.address, "containerd does not answer", err)
	}
	if r.snapshotter, err = chooseSnapshotter(ctx, client); err != nil {
		return err
	}
	r.log.Info(fmt.Sprintf("containerd %s answers, snapshots by %s", version.Version, r.snapshotter),
		"op", "runtime.open")
	if err := r.sweepShims(ctx); err != nil { // a later sweep tries again
		r.log.Warn("shims not swept", "op", "runtime.open", "err", err)
	}
	r.spawn(r.sweepLater)
	if err := r.keepSpare(ctx); err != nil {
		r.log.Warn("no spare snapshot", "op", "runtime.open", "err", err)
	}
	if err := r.sweepUnowned(ctx); err != nil {
		return err
	}
	if err := r.initOlder(ctx); err != nil { // a later daemon tries again
		r.log.Warn("older containers without an init layer", "op", "runtime.open", "err", err)
	}
	return nil
}

// chooseSnapshotter prefers overlayfs; where the data root lies on a file system
// that cannot carry it, whole copies have to do.
func chooseSnapshotter(ctx context.Context, client *containerd.Client) (string, error) {
	answer, err := client.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1")
	if err != nil {
		return "", faultf("open", "", "list containerd's plugins", err)
	}
	good := map[string]bool{}
	for _, p := range answer.Plugins {
		good[p.ID] = p.InitErr == nil
	}
	for _, name := range []string{overlaySnapshots, nativeSnapshots} {
		if good[name] {
			return name, nil
		}
	}
	return "", model.Errorf(model.Unavailable, "containerd has neither snapshotter %s nor %s",
		overlaySnapshots, nativeSnapshots)
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
	if r.child != nil {
		r.child.release()
	}
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
	var err error
	if r.child != nil {
		err = r.child.stop(ctx)
	}
	return errors.Join(err, r.Close())
}

// Version returns containerd's version, "1.6.20".
func (r *Runtime) Version(ctx context.Context) (string, error) {
	ctx, cancel := r.call(ctx)
	defer cancel()
	v, err := r.client.Version(ctx)
	return v.Version, fault("version", "", err)
}

// Snapshotter returns the name of containerd's snapshotter in use, which Docker
// calls the storage driver.
func (r *Runtime) Snapshotter() string { return r.snapshotter }

// call returns ctx for one quick request.
func (r *Runtime) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.scope(ctx), callTimeout)
}

// scope returns ctx for requests that may take as long as their caller likes.
func (r *Runtime) scope(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, r.opts.Namespace)
}

func (r *Runtime) tasks() tasks.TasksClient { return r.client.TaskService() }
