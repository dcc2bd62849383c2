package buildkitd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// leaveTimeout bounds how long a step's end waits for the daemon.
const leaveTimeout = 30 * time.Second

// Attacher has network namespaces join networks of the engine: a privateapi.Client.
type Attacher interface {
	Attach(ctx context.Context, r privateapi.Request) (privateapi.Attachment, error)
	Detach(ctx context.Context, r privateapi.Ref) error
}

// networks gives build steps their networks.
type networks struct {
	daemon Attacher
	name   string // of the network of steps that ask for none
	named  namedNetworks
	search []string // domains in which steps on named networks look for names
	dir    string   // for files of steps
	log    *slog.Logger

	running sync.WaitGroup // steps
	mu      sync.Mutex     // guards ending, after which running gets no more
	ending  bool
}

// providers are the networks by what a step may ask for.
func (n *networks) providers() map[pb.NetMode]network.Provider {
	return map[pb.NetMode]network.Provider{
		pb.NetMode_UNSET: counted{bridged{n}, n}, pb.NetMode_HOST: counted{network.NewHostProvider(), n}, pb.NetMode_NONE: counted{network.NewNoneProvider(), n},
	}
}

// counted counts steps: each has a network for as long as it has a process.
type counted struct {
	network.Provider
	of *networks
}

// New implements network.Provider.
func (c counted) New(ctx context.Context, hostname string, opt network.NamespaceOptions) (network.Namespace, error) {
	c.of.mu.Lock()
	ending := c.of.ending
	if !ending {
		c.of.running.Add(1)
	}
	c.of.mu.Unlock()
	if ending {
		return nil, errors.New("the builder is about to end")
	}
	inner, err := c.Provider.New(ctx, hostname, opt)
	if err != nil {
		c.of.running.Done()
		return nil, err
	}
	return &countedNamespace{Namespace: inner, done: c.of.running.Done}, nil
}

type countedNamespace struct {
	network.Namespace
	once sync.Once
	done func()
}

// Set implements network.Namespace. It is where all that is said of a step passes: memory that a
// step wants is to be had of it first, as of a container, and not of the engine, whose value it
// would have.
func (n *countedNamespace) Set(s *specs.Spec) error {
	if s.Process != nil && s.Process.OOMScoreAdj == nil {
		s.Process.OOMScoreAdj = new(int)
	}
	return n.Namespace.Set(s)
}

// Close implements network.Namespace.
func (n *countedNamespace) Close() error {
	defer n.once.Do(n.done)
	return n.Namespace.Close()
}

// await returns once no step has a process any more, or ctx is done. There will be no others.
func (n *networks) await(ctx context.Context) error {
	n.mu.Lock()
	n.ending = true
	n.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		n.running.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("steps of builds do not end: %w", ctx.Err())
	}
}

// sweep gives back what the steps of a process before this one had.
func (n *networks) sweep(ctx context.Context) error {
	return n.daemon.Detach(ctx, privateapi.Ref{Door: model.DoorBuild})
}

// bridged puts each step into a namespace of its own, a guest of the default network, or of the one that its build has named.
type bridged struct{ *networks }

// New implements network.Provider. The daemon finds the namespace by the descriptor of this
// process, and gives it the name by which the runtime does: so nothing has to be cleared away
// if this process dies.
func (b bridged) New(ctx context.Context, hostname string, _ network.NamespaceOptions) (network.Namespace, error) {
	file, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	n := &namespace{networks: b.networks, id: "build-" + identity.NewID(), file: file}
	on, isNamed := b.named.at(hostname)
	if !isNamed {
		on = b.name
	}
	joined, err := b.daemon.Attach(ctx, privateapi.Request{
		Namespace: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd()), Network: on,
		Door: model.DoorBuild, Container: n.id, Name: n.id, Hostname: hostname,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("join network %s: %w (docker build --network=host or --network=none does without it)", on, err), file.Close())
	}
	n.path = filepath.Join(netnsDir, joined.Sandbox)
	if isNamed && len(joined.DNS) > 0 {
		if err := n.writeResolvConf(joined.DNS); err != nil {
			return nil, errors.Join(fmt.Errorf("name servers of network %s: %w", on, err), n.Close())
		}
	}
	b.log.Debug("a build step is on the network", "op", "build.network", "container", n.id, "network", joined.Network)
	return n, nil
}

// Close implements network.Provider.
func (bridged) Close() error { return nil }

// netnsDir is where namespaces have their names (ip-netns(8)).
const netnsDir = "/run/netns"

// newNamespace returns the file of a new network namespace, in which there is nothing yet.
func newNamespace() (*os.File, error) {
	type made struct {
		file *os.File
		err  error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		var m made
		if m.err = unix.Unshare(unix.CLONE_NEWNET); m.err == nil {
			m.file, m.err = os.Open("/proc/thread-self/ns/net")
		}
		done <- m
	}()
	m := <-done
	return m.file, m.err
}

// namespace is that of one step.
type namespace struct {
	*networks
	id   string
	path string
	file *os.File
	// resolvConf is the path of a resolv.conf of the step's own; empty: as all have it.
	resolvConf string
}

// writeResolvConf makes the step's resolv.conf(5), by which it finds the names of its network.
func (n *namespace) writeResolvConf(servers []netip.Addr) error {
	var text strings.Builder
	for _, a := range servers {
		fmt.Fprintf(&text, "nameserver %s\n", a)
	}
	if len(n.search) > 0 {
		fmt.Fprintf(&text, "search %s\n", strings.Join(n.search, " "))
	}
	text.WriteString("options ndots:0\n")
	n.resolvConf = filepath.Join(n.dir, n.id+".resolv.conf")
	return os.WriteFile(n.resolvConf, []byte(text.String()), 0o644) //nolint:gosec // whoever the step runs as reads it
}

// Set implements network.Namespace.
func (n *namespace) Set(s *specs.Spec) error {
	for i, m := range s.Mounts {
		if n.resolvConf != "" && m.Destination == "/etc/resolv.conf" {
			s.Mounts[i].Source = n.resolvConf
		}
	}
	return oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: n.path})(context.Background(), nil, nil, s)
}

// Sample implements network.Namespace.
func (*namespace) Sample() (*types.NetworkSample, error) { return nil, nil }

// Close implements network.Namespace. The build that the step was of may be over.
func (n *namespace) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	err := errors.Join(n.daemon.Detach(ctx, privateapi.Ref{Door: model.DoorBuild, Container: n.id}), n.file.Close())
	if n.resolvConf != "" {
		err = errors.Join(err, os.Remove(n.resolvConf))
	}
	return err
}

// unmountBelow takes down what a process before this one has left mounted in a folder.
func unmountBelow(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		at := filepath.Join(dir, e.Name())
		if stays := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); stays != nil && !errors.Is(stays, unix.EINVAL) {
			err = errors.Join(err, fmt.Errorf("unmount %s: %w", at, stays))
		}
	}
	return err
}
