// Package swarm is the part of the engine that belongs to a swarm: it makes this
// host a node of one, and keeps its networks and the containers on them.
//
//	door ─▶ Init, Join, Leave ... ─▶ cluster/swarm.Node ─▶ other hosts
//	networks ─▶ Networks, CreateNetwork ─▶ the manager's store
//	containers ─▶ Seat ─▶ the manager gives a place ─▶ Place ─▶ the network is made here
//	                                                     ╰─▶ Left, when the container is gone from it
//
// Without a swarm it has no goroutine, no port and no file. It decides which addresses
// a node has, what Docker says when it cannot be one, and what becomes of containers
// and networks when it leaves. It must not know swarmkit's types, or the kernel.
//
// Locks: verbs guards what makes and ends a node, and may be held across calls to it; mu
// guards fields only.
package swarm

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	types "github.com/moby/moby/api/types/swarm"

	cluster "github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Engine has the model of this host.
type Engine interface {
	Snapshot() *state.Snapshot
}

// Host is this host's own network.
type Host interface {
	Interfaces(ctx context.Context) ([]facts.Interface, error)
}

// Overlays makes networks of the swarm here, and drops them.
type Overlays interface {
	// EnsureOverlay makes a network of the swarm, or brings it up to date.
	EnsureOverlay(ctx context.Context, n model.Network) error
	// DropOverlay removes it. One that is gone is success; one that is in use is not.
	DropOverlay(ctx context.Context, id model.NetworkID) error
	// EnsureGateway makes the network by which containers on those of the swarm leave.
	EnsureGateway(ctx context.Context) error
}

// Members are the containers of this host.
type Members interface {
	// Disconnect ends a membership, also of a container that does not run.
	Disconnect(ctx context.Context, ref, network string, force bool) error
}

// Options are what a Manager is made of. Tasks and Changed may be nil.
type Options struct {
	Root      string // data root: swarm/ is below it
	ExecRoot  string
	Advertise string // --swarm-default-advertise-addr
	Engine    Engine
	Host      Host
	Overlays  Overlays
	Describe  func(context.Context) (cluster.Description, error)
	// Tasks runs services' tasks.
	Tasks cluster.Tasks
	// Managing, if set, is called in a goroutine of its own for every way to this host's
	// own manager; ctx ends with the way.
	Managing func(ctx context.Context, m cluster.Manager)
	// Changed is called when the node came, went or changed what it is; it must not wait.
	Changed func()
	// RemoveTasks removes the containers that the swarm had asked for.
	RemoveTasks func(ctx context.Context, node string) error
	Logger      *slog.Logger
}

// Manager makes this host a node of a swarm and ends that. Its methods may be called
// from any goroutine.
type Manager struct {
	o       Options
	log     *slog.Logger
	folder  string
	verbs   sync.Mutex
	opening sync.Once
	*seats

	mu      sync.Mutex
	node    *cluster.Node // nil: of no swarm
	members Members
	port    uint32 // of data, UDP
}

// New returns a manager of a host that is of no swarm; Open takes up what it was.
func New(o Options) *Manager {
	m := &Manager{o: o, log: o.Logger, folder: filepath.Join(o.Root, "swarm")}
	m.seats = &seats{o: &m.o, log: o.Logger, node: m.Node, opened: make(chan struct{}), places: map[string]*place{}, wishes: map[*wish]bool{}, users: map[model.NetworkID]map[string]bool{}}
	return m
}

// Open starts the node again that this host was when the daemon ended. members are the
// containers of this host. It waits for the node, but not for long: what it cannot do
// yet it goes on with.
func (m *Manager) Open(ctx context.Context, members Members) error {
	m.verbs.Lock()
	defer m.verbs.Unlock()
	defer m.opening.Do(func() { close(m.opened) })
	m.mu.Lock()
	m.members = members
	m.mu.Unlock()
	c, of, err := cluster.Load(m.folder)
	if err != nil || !of {
		return err
	}
	n, err := m.start(ctx, c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reopenTimeout)
	defer cancel()
	if err := n.Ready(ctx); err != nil {
		m.log.Warn("the node of the swarm is not ready yet", "op", "daemon.start", "err", err)
	}
	return nil
}

const (
	// reopenTimeout is how long the daemon's start waits for the swarm.
	reopenTimeout = 5 * time.Second
	// specifyTimeout bounds what follows when a swarm was made.
	specifyTimeout = 5 * time.Second
)

// Close ends the node until the daemon starts again; containers go on.
func (m *Manager) Close(context.Context) error {
	m.verbs.Lock()
	defer m.verbs.Unlock()
	n := m.Node()
	if n == nil {
		return nil
	}
	err := n.Pause()
	m.setNode(nil)
	return err
}

// Node returns this host's node, or nil.
func (m *Manager) Node() *cluster.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node
}

func (m *Manager) setNode(n *cluster.Node) {
	m.mu.Lock()
	m.node = n
	m.mu.Unlock()
	m.changed()
}

func (m *Manager) changed() {
	if m.o.Changed != nil {
		m.o.Changed()
	}
}

// start starts a node. The caller holds verbs.
func (m *Manager) start(ctx context.Context, c cluster.Config) (*cluster.Node, error) {
	if c.LocalAddr == "" {
		remote := c.RemoteAddr
		a, err := cluster.LocalAddr(remote)
		if err != nil {
			return nil, err
		}
		c.LocalAddr = a
	}
	if err := m.o.Overlays.EnsureGateway(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	n, err := cluster.Start(cluster.Options{
		Folder: m.folder, Runtime: filepath.Join(m.o.ExecRoot, "swarm"),
		Executor: cluster.ExecutorOptions{Describe: m.o.Describe, Places: placeKeeper{m.seats}, Tasks: m.o.Tasks},
		DataPort: m.setPort, Managing: m.o.Managing, Changed: m.changed, Logger: m.log,
	}, c)
	if err != nil {
		return nil, err
	}
	m.setNode(n)
	return n, nil
}

// setPort remembers the UDP port of the swarm's data.
func (m *Manager) setPort(port uint32) {
	m.mu.Lock()
	m.port = port
	m.mu.Unlock()
	m.changed()
}

// DataPort returns the UDP port of the swarm's data.
func (m *Manager) DataPort() uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.port == 0 {
		return defaultDataPort
	}
	return m.port
}

// DataPortKnown tells whether the swarm has said which port that is, since the daemon
// started.
func (m *Manager) DataPortKnown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.port != 0
}

// errNoSwarm is the refusal to leave a swarm that this host is not of.
func errNoSwarm() error { return model.Errorf(model.Unavailable, "This node is not part of a swarm") }

// errMember is the refusal to make or join a second swarm.
func errMember() error {
	return model.Errorf(model.Unavailable, `This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.`)
}

// chooser returns what chooses addresses of this host as it is now.
func (m *Manager) chooser(ctx context.Context) (chooser, error) {
	list, err := m.o.Host.Interfaces(ctx)
	if err != nil {
		return chooser{}, err
	}
	c := chooser{interfaces: list, standard: m.o.Advertise}
	for n := range m.o.Engine.Snapshot().Networks() {
		for _, p := range n.IPAM.Pools {
			if n.Scope != model.ScopeSwarm { // the host has no address of these
				c.ours = append(c.ours, p.Subnet)
			}
		}
	}
	return c, nil
}

// Init makes a new swarm with this host as its only manager, and returns the node's ID.
func (m *Manager) Init(ctx context.Context, r types.InitRequest) (string, error) {
	ctx = context.WithoutCancel(ctx)
	m.verbs.Lock()
	defer m.verbs.Unlock()
	if n := m.Node(); n != nil {
		if !r.ForceNewCluster {
			return "", errMember()
		}
		if !n.State().Manager {
			return "", cluster.OnlyManagers()
		}
		if err := n.Stop(); err != nil {
			return "", err
		}
		m.setNode(nil)
	}
	c, err := m.initConfig(ctx, r)
	if err != nil {
		return "", err
	}
	n, err := m.start(ctx, c)
	if err != nil {
		return "", err
	}
	if err := n.Ready(ctx); err != nil {
		return "", m.giveUp(n, !r.ForceNewCluster, err)
	}
	ctx, cancel := context.WithTimeout(ctx, specifyTimeout)
	defer cancel()
	if err := n.Until(ctx, func(s cluster.State) bool { return s.Control }); err != nil {
		return "", err
	}
	return n.State().ID, n.Specify(ctx, r.Spec)
}

// giveUp ends a node that never took part; with clear its state goes too.
func (m *Manager) giveUp(n *cluster.Node, clear bool, cause error) error {
	stopped := n.Stop()
	m.setNode(nil)
	if !clear {
		return errors.Join(cause, stopped)
	}
	return errors.Join(cause, stopped, cluster.Clear(m.folder))
}

// initConfig returns what a request for a new swarm means on this host.
func (m *Manager) initConfig(ctx context.Context, r types.InitRequest) (cluster.Config, error) {
	var c cluster.Config
	listen, err := completeAddr(r.ListenAddr)
	if err != nil {
		return c, invalid("invalid ListenAddr %q: %v", r.ListenAddr, err)
	}
	if r.Spec.Name != "" && r.Spec.Name != "default" {
		return c, invalid(`swarm spec must be named "default"`)
	}
	from, err := m.chooser(ctx)
	if err != nil {
		return c, err
	}
	host, port, err := from.listen(listen)
	if err != nil {
		return c, err
	}
	advertised, advertisedPort, err := from.advertise(r.AdvertiseAddr, port)
	if err != nil {
		return c, err
	}
	if c.DataPathAddr, err = from.dataPath(r.DataPathAddr); err != nil {
		return c, err
	}
	if c.LocalAddr, err = from.local(host, advertised); err != nil {
		return c, err
	}
	if err := checkPools(r.DefaultAddrPool, r.SubnetSize); err != nil {
		return c, err
	}
	if c.DataPathPort, err = dataPort(r.DataPathPort); err != nil {
		return c, err
	}
	c.ListenAddr, c.AdvertiseAddr = net.JoinHostPort(host, port), net.JoinHostPort(advertised, advertisedPort)
	c.DefaultAddressPool, c.SubnetSize = maskedAll(r.DefaultAddrPool), r.SubnetSize
	c.ForceNewCluster, c.AutoLock, c.Availability = r.ForceNewCluster, r.AutoLockManagers, r.Availability
	return c, nil
}

func maskedAll(list []netip.Prefix) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, p.Masked())
	}
	return out
}

// Join makes this host a node of a swarm that is there.
func (m *Manager) Join(ctx context.Context, r types.JoinRequest) error {
	ctx = context.WithoutCancel(ctx)
	m.verbs.Lock()
	defer m.verbs.Unlock()
	if m.Node() != nil {
		return errMember()
	}
	c, err := m.joinConfig(ctx, r)
	if err != nil {
		return err
	}
	n, err := m.start(ctx, c)
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, cluster.RequestTimeout)
	defer cancel()
	switch err := n.Ready(limit); {
	case err == nil:
		return nil
	case limit.Err() != nil:
		return model.Errorf(model.Unavailable, `Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the "docker info" command to see the current swarm status of your node.`)
	default:
		return m.giveUp(n, true, err)
	}
}

// joinConfig returns what a request to join means on this host.
func (m *Manager) joinConfig(ctx context.Context, r types.JoinRequest) (cluster.Config, error) {
	var c cluster.Config
	listen, err := completeAddr(r.ListenAddr)
	if err != nil {
		return c, invalid("invalid ListenAddr %q: %v", r.ListenAddr, err)
	}
	if len(r.RemoteAddrs) == 0 {
		return c, invalid("at least 1 RemoteAddr is required to join")
	}
	for i, text := range r.RemoteAddrs {
		remote, err := completeAddr(text)
		if err != nil {
			return c, invalid("invalid remoteAddr %q: %v", text, err)
		}
		if i == 0 {
			c.RemoteAddr, c.JoinAddr = remote, remote
		}
	}
	from, err := m.chooser(ctx)
	if err != nil {
		return c, err
	}
	host, port, err := from.listen(listen)
	if err != nil {
		return c, err
	}
	if r.AdvertiseAddr != "" {
		// One that cannot be is left out: managers see where we come from.
		if a, p, err := from.advertise(r.AdvertiseAddr, port); err == nil {
			c.AdvertiseAddr = net.JoinHostPort(a, p)
		}
	}
	if c.DataPathAddr, err = from.dataPath(r.DataPathAddr); err != nil {
		return c, err
	}
	if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() {
		c.LocalAddr = host
	}
	c.ListenAddr, c.JoinToken, c.Availability = net.JoinHostPort(host, port), r.JoinToken, r.Availability
	return c, nil
}
