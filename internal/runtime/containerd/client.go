package containerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	containerdlog "github.com/containerd/log"
	"google.golang.org/grpc"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// CallTimeout bounds one request to containerd that should be quick.
	CallTimeout = 2 * time.Minute
	// RetryFirst is the pause before a request is sent again, or a question asked again.
	RetryFirst = 50 * time.Millisecond

	overlaySnapshots = "overlayfs"
	nativeSnapshots  = "native"
)

// Options say which containerd to use and where a child keeps its files.
type Options struct {
	// Address is the socket of a containerd that somebody else runs. Empty means
	// a child of our own.
	Address string
	// Namespace is the containerd namespace that is ours.
	Namespace string
	// DataRoot keeps what must survive a reboot, ExecRoot what must not.
	DataRoot string
	ExecRoot string
	// Program is that of the child; empty means "containerd" in $PATH.
	Program string
	// Patience is how long a child may take to say that it is well; 3 s if 0.
	Patience time.Duration
	// Call, if set, is what each request goes through.
	Call   grpc.UnaryClientInterceptor
	Logger *slog.Logger
}

// Client speaks with one containerd, in one of its namespaces. Its methods may be called
// from any goroutine.
type Client struct {
	*client.Client
	// Namespace is ours, Address the socket, Snapshotter the one of containerd's in use,
	// which Docker calls the storage driver.
	Namespace   string
	Address     string
	Snapshotter string

	child *child // nil with somebody else's containerd
	held  held
}

// Open connects to containerd, starting or adopting a child if that is asked for, and
// returns once it answers, or ctx is done.
func Open(ctx context.Context, o Options) (*Client, error) {
	c := &Client{Namespace: o.Namespace, Address: o.Address}
	var err error
	if c.Address == "" {
		if c.child, err = startChild(ctx, o); err != nil {
			return nil, err
		}
		c.Address = c.child.socket()
	}
	if err := c.connect(ctx, o); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// connect makes the client and chooses the snapshotter. What the client's packages would write into
// a log of their own comes back to us as errors.
func (c *Client) connect(ctx context.Context, o Options) (err error) {
	if err := containerdlog.SetLevel(containerdlog.FatalLevel.String()); err != nil { //nolint:forbidigo // that it does not log is what is asked for
		return fmt.Errorf("silence the client of containerd: %w", err)
	}
	c.Client, err = client.New(c.Address,
		client.WithDefaultNamespace(c.Namespace),
		client.WithExtraDialOpts(dialOptions(o.Call)))
	if err != nil {
		return Faultf("open", c.Address, "connect to containerd", err)
	}
	ctx = c.Scope(ctx)
	version, err := c.Client.Version(ctx)
	if err != nil {
		return Faultf("open", c.Address, "containerd does not answer", err)
	}
	if c.Snapshotter, err = chooseSnapshotter(ctx, c.Client); err != nil {
		return err
	}
	o.Logger.Info(fmt.Sprintf("containerd %s answers, snapshots by %s", version.Version, c.Snapshotter),
		"op", "runtime.open")
	return nil
}

// chooseSnapshotter prefers overlayfs; where the data root lies on a file system
// that cannot carry it, whole copies have to do.
func chooseSnapshotter(ctx context.Context, c *client.Client) (string, error) {
	answer, err := c.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1")
	if err != nil {
		return "", Faultf("open", "", "list containerd's plugins", err)
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

// Close lets go of containerd. A child keeps running, to be adopted by the next Open.
func (c *Client) Close() error {
	if c.child != nil {
		c.child.release()
	}
	if c.Client == nil {
		return nil
	}
	return c.Client.Close()
}

// StopChild ends a child containerd, by force once ctx is done. Containers keep running.
func (c *Client) StopChild(ctx context.Context) error {
	if c.child == nil {
		return nil
	}
	return c.child.stop(ctx)
}

// Restarted gets a word whenever a child was started again; nil, and so never, with
// somebody else's containerd.
func (c *Client) Restarted() <-chan struct{} {
	if c.child == nil {
		return nil
	}
	return c.child.returned
}

// Bundle returns where a child keeps the bundle of a container's task, and its working
// folder; "" if containerd is somebody else's.
func (c *Client) Bundle(id model.ContainerID) (bundle, work string) {
	if c.child == nil {
		return "", ""
	}
	name := filepath.Join("io.containerd.runtime.v2.task", c.Namespace, string(id))
	return filepath.Join(c.child.exec, "state", name), filepath.Join(c.child.data, "root", name)
}

// MadeByThis tells whether the child that runs, and not an earlier one, may have made a
// file: it was changed since the child was started, or nobody knows.
func (c *Client) MadeByThis(file os.FileInfo) bool {
	started, err := os.Stat(c.child.configFile())
	return err != nil || file.ModTime().After(started.ModTime())
}

// Version returns containerd's version, "1.6.20".
func (c *Client) Version(ctx context.Context) (string, error) {
	ctx, cancel := c.Call(ctx)
	defer cancel()
	v, err := c.Client.Version(ctx)
	return v.Version, Fault("version", "", err)
}

// Call returns ctx for one quick request.
func (c *Client) Call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.Scope(ctx), CallTimeout)
}

// Scope returns ctx for requests that may take as long as their caller likes.
func (c *Client) Scope(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, c.Namespace)
}

// Tasks returns the service of processes.
func (c *Client) Tasks() tasks.TasksClient { return c.TaskService() }

// Snapshots returns the snapshotter in use.
func (c *Client) Snapshots() snapshots.Snapshotter { return c.SnapshotService(c.Snapshotter) }

// Lease keeps what is written with the returned context from the collector. end gives
// it up; what was not kept by then is collected before end returns.
func (c *Client) Lease(ctx context.Context) (leased context.Context, end func(kept bool) error, err error) {
	service := c.LeasesService()
	l, err := service.Create(ctx, leases.WithRandomID(), leases.WithExpiration(24*time.Hour))
	if err != nil {
		return ctx, nil, Faultf("lease", "", "make a lease", err)
	}
	return leases.WithLease(ctx, l.ID), func(kept bool) error {
		ctx, cancel := c.Call(context.WithoutCancel(ctx))
		defer cancel()
		var opts []leases.DeleteOpt
		if !kept {
			opts = append(opts, leases.SynchronousDelete)
		}
		return Faultf("lease", "", "end a lease", service.Delete(ctx, l, opts...))
	}, nil
}
