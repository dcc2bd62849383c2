// Package swarm runs this host's node of a swarm: swarmkit's engine, with its types
// kept here and in the packages beside.
//
//	hub ─▶ Node ─▶ swarmkit's node ─▶ manager (raft, CA, dispatcher), if it is one
//	          │                  ╰──▶ agent ─▶ Executor ─▶ tasks, places on networks
//	          ╰─▶ Manage: requests to the manager, answered in Docker's words
//
// It promises that a node that ends by itself is started again, with growing pauses,
// until it is stopped; that requests to a manager end in time; and that errors carry
// Docker's text and kind. It must not decide what a host of a swarm does with its
// containers and networks: the hub does.
package swarm

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/agent"
	"github.com/moby/swarmkit/v2/api"
	swarmlog "github.com/moby/swarmkit/v2/log"
	"github.com/moby/swarmkit/v2/manager/allocator/networkallocator"
	"github.com/moby/swarmkit/v2/node"
	"google.golang.org/grpc"

	"github.com/linkspan/linkspan/internal/cluster/allocator"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	// RequestTimeout bounds a request to a manager, and how long a join is waited for.
	RequestTimeout = 20 * time.Second
	// stopTimeout bounds how long a node may take to end.
	stopTimeout = 15 * time.Second

	againFirst = 200 * time.Millisecond
	againLast  = 30 * time.Second

	// heartbeatTick and electionTick are raft's, in seconds.
	heartbeatTick = 1
	electionTick  = 10
)

// Options are what a Node is made of. All but Changed are needed.
type Options struct {
	Folder   string // for the node's state
	Runtime  string // for the manager's own socket
	Executor ExecutorOptions
	DataPort func(port uint32) // is told the UDP port of the swarm's data
	// Managing, if set, is called in a goroutine of its own for every way to this node's
	// manager; ctx ends with the way.
	Managing func(ctx context.Context, m Manager)
	// Changed, if set, is called after State may have changed. It must not wait.
	Changed func()
	Logger  *slog.Logger
}

// Node is a node of a swarm. A nil one is none. Its methods may be called from any
// goroutine.
type Node struct {
	o   Options
	log *slog.Logger

	mu     sync.Mutex
	config Config
	run    *run  // nil between two runs
	err    error // why the last run ended
	wait   context.CancelFunc
	pause  time.Duration
	again  bool          // it was ready once, or has been started again: it is to go on
	ended  bool          // Stop was called
	first  *run          // of the first start, for those who wait for it
	told   chan struct{} // closed, and another made, after State may have changed
	work   sync.WaitGroup
}

// run is one life of swarmkit's node.
type run struct {
	node  *node.Node
	ready chan struct{} // closed when it takes part in the swarm
	done  chan struct{} // closed when it has ended, after err was set
	err   error
	conn  *grpc.ClientConn // to its own manager; nil if there is none, or no leader
	agent *agent.Agent     // once it is ready
	end   context.CancelFunc
}

// Start starts a node. Whether it can take part is told by Ready.
func Start(o Options, c Config) (*Node, error) {
	n := &Node{o: o, log: o.Logger, config: c, pause: againFirst, told: make(chan struct{})}
	for _, folder := range []string{o.Folder, o.Runtime} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.startLocked(); err != nil {
		return nil, err
	}
	n.first = n.run
	return n, nil
}

// startLocked begins a run.
func (n *Node) startLocked() error {
	c, err := n.nodeConfig()
	if err != nil {
		return err
	}
	sk, err := node.New(c)
	if err != nil {
		return err
	}
	if n.config.JoinAddr != "" {
		n.config.JoinInProgress = true
	}
	if err := save(n.o.Folder, n.config); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(swarmlog.WithLogger(context.Background(), bridge(n.log))) //nolint:forbidigo // its log leads to ours
	if err := sk.Start(ctx); err != nil {
		cancel()
		return err
	}
	r := &run{node: sk, ready: make(chan struct{}), done: make(chan struct{}), end: cancel}
	n.run, n.err = r, nil
	n.work.Go(func() { n.untilReady(ctx, r) })
	n.work.Go(func() { n.followSocket(ctx, r) })
	n.work.Go(func() {
		n.untilEnd(r)
		cancel()
	})
	return nil
}

// nodeConfig translates what the node is started with.
func (n *Node) nodeConfig() (*node.Config, error) {
	c := n.config
	joinAddr := c.JoinAddr
	if joinAddr == "" && c.JoinInProgress { // the daemon ended in the middle of a join
		joinAddr = c.RemoteAddr
	}
	out := &node.Config{
		StateDir: n.o.Folder, ListenControlAPI: filepath.Join(n.o.Runtime, "control.sock"),
		ListenRemoteAPI: c.ListenAddr, AdvertiseRemoteAPI: c.AdvertiseAddr,
		JoinAddr: joinAddr, JoinToken: c.JoinToken, ForceNewCluster: c.ForceNewCluster,
		AutoLockManagers: c.AutoLock, UnlockKey: c.UnlockKey,
		HeartbeatTick: heartbeatTick, ElectionTick: electionTick,
		Executor: newExecutor(n.o.Executor), NetworkProvider: allocator.Provider{Port: n.o.DataPort},
		NetworkConfig: &networkallocator.Config{SubnetSize: c.SubnetSize, VXLANUDPPort: c.DataPathPort},
	}
	for _, p := range c.DefaultAddressPool {
		out.NetworkConfig.DefaultAddrPool = append(out.NetworkConfig.DefaultAddrPool, p.String())
	}
	if c.Availability != "" {
		value, ok := api.NodeSpec_Availability_value[strings.ToUpper(string(c.Availability))]
		if !ok {
			return nil, model.Errorf(model.Unfit, "invalid Availability: %q", c.Availability)
		}
		out.Availability = api.NodeSpec_Availability(value)
	}
	return out, nil
}

// untilReady notes that a run takes part in the swarm.
func (n *Node) untilReady(ctx context.Context, r *run) {
	select {
	case <-r.node.Ready():
	case <-ctx.Done():
		return
	}
	a := r.node.Agent()
	n.mu.Lock()
	r.agent = a
	n.again, n.pause = true, againFirst
	n.config.ForceNewCluster = false // was for once
	if n.config.JoinInProgress {
		n.config.JoinInProgress = false
		if err := save(n.o.Folder, n.config); err != nil {
			n.log.Error("state of the swarm not stored", "op", "swarm.join", "err", err)
		}
	}
	close(r.ready)
	n.mu.Unlock()
	n.tell()
}

// followSocket keeps the connection to the node's own manager.
func (n *Node) followSocket(ctx context.Context, r *run) {
	end := func() {}
	defer func() { end() }()
	for conn := range r.node.ListenControlSocket(ctx) {
		n.mu.Lock()
		same := r.conn == conn
		r.conn = conn
		n.mu.Unlock()
		if !same {
			end()
			end = n.manage(ctx, r.node.NodeID(), conn)
		}
		n.tell()
	}
}

// manage tells that there is a way to the node's own manager, if there is one, and
// returns what ends that.
func (n *Node) manage(ctx context.Context, id string, conn *grpc.ClientConn) context.CancelFunc {
	if n.o.Managing == nil || conn == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	n.work.Go(func() { n.o.Managing(ctx, ManagerBehind(id, conn)) })
	return cancel
}

// untilEnd waits for the end of a run, and has it started again unless it was asked to
// end, or never came to take part.
func (n *Node) untilEnd(r *run) {
	err := r.node.Err(context.Background())
	defer n.tell()
	if errors.Is(err, node.ErrInvalidUnlockKey) {
		err = errLocked()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r.err, r.conn = err, nil
	n.run, n.err = nil, err
	close(r.done)
	if n.ended {
		return
	}
	if err != nil {
		n.log.Warn("the node of the swarm ended", "op", "swarm.run", "err", err.Error()) // without swarmkit's stack
	}
	again := n.again
	n.again = true // as soon as somebody starts it anew, it is to go on
	if !again {
		return
	}
	n.config.JoinAddr = "" // it knows its managers now, and that one may be none any more
	n.startLaterLocked()
}

// startLaterLocked starts the node again after a pause.
func (n *Node) startLaterLocked() {
	n.pause = min(2*n.pause, againLast)
	ctx, cancel := context.WithCancel(context.Background())
	n.wait = cancel
	timer := time.NewTimer(n.pause)
	n.work.Go(func() {
		defer cancel()
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.wait = nil
		if n.ended {
			return
		}
		if err := n.startLocked(); err != nil {
			n.err = err
			n.log.Warn("the node of the swarm was not started", "op", "swarm.run", "err", err)
			n.startLaterLocked()
		}
	})
}

// tell says that State may have changed. The caller does not hold mu.
func (n *Node) tell() {
	n.mu.Lock()
	close(n.told)
	n.told = make(chan struct{})
	n.mu.Unlock()
	if n.o.Changed != nil {
		n.o.Changed()
	}
}

// Until waits until the node is as wanted. Errors: that of ctx.
func (n *Node) Until(ctx context.Context, wanted func(State) bool) error {
	for {
		n.mu.Lock()
		told := n.told
		n.mu.Unlock()
		if wanted(n.State()) {
			return nil
		}
		select {
		case <-told:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Ready waits until the node takes part in its swarm for the first time. Errors: why it
// ended before; that of ctx.
func (n *Node) Ready(ctx context.Context) error {
	r := n.first
	select {
	case <-r.ready:
		return nil
	case <-r.done:
		select {
		case <-r.ready:
			return nil
		default:
			return failure(r.err)
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Stop ends the node's part in its swarm, and waits for that: tasks are ended.
func (n *Node) Stop() error { return n.end(true) }

// Pause ends the node until it is started again, and waits for that: tasks go on.
func (n *Node) Pause() error { return n.end(false) }

// end ends the node. Swarmkit's own way to do that would hold its lock while tasks end,
// which ask it for this and that.
func (n *Node) end(leave bool) error {
	n.mu.Lock()
	n.ended = true
	if n.wait != nil {
		n.wait()
		n.wait = nil
	}
	r := n.run
	var a *agent.Agent
	if r != nil && leave {
		a = r.agent
	}
	n.mu.Unlock()
	if r != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if a != nil {
			if err := a.Leave(ctx); err != nil {
				n.log.Warn("tasks of the swarm were not ended in time", "op", "swarm.leave", "err", err.Error())
			}
		}
		r.end()
		limit := time.NewTimer(stopTimeout)
		defer limit.Stop()
		select {
		case <-r.done:
		case <-limit.C:
			return errors.New("the node of the swarm does not end")
		}
	}
	n.work.Wait()
	return nil
}

// State is how a node stands.
type State struct {
	Status    swarm.LocalNodeState
	Err       error
	ID        string
	LocalAddr string // by which it reaches the others
	Advertise string // by which others reach it, without a port; empty where managers find out
	DataPath  string // of its data, if it is another
	Manager   bool   // it is a manager
	Control   bool   // its manager answers requests
	Remotes   []swarm.Peer
}

// State returns how the node stands now.
func (n *Node) State() State {
	if n == nil {
		return State{Status: swarm.LocalNodeStateInactive}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s := State{Err: n.err, LocalAddr: n.config.LocalAddr, Advertise: n.config.advertised(), DataPath: n.config.DataPathAddr}
	switch r := n.run; {
	case isLocked(n.err):
		s.Status = swarm.LocalNodeStateLocked
	case n.err != nil || r == nil:
		s.Status = swarm.LocalNodeStateError
	default:
		s.Status = swarm.LocalNodeStatePending
		select {
		case <-r.ready:
			s.Status = swarm.LocalNodeStateActive
		default:
		}
		s.ID, s.Manager, s.Control = r.node.NodeID(), r.node.Manager() != nil, r.conn != nil
		for _, p := range r.node.Remotes() {
			s.Remotes = append(s.Remotes, swarm.Peer{NodeID: p.NodeID, Addr: p.Addr})
		}
	}
	return s
}

// Config returns what the node was started with, for starting it again.
func (n *Node) Config() Config {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.config
}

// agent returns what speaks with the swarm for this node, or nil.
func (n *Node) agent() *agent.Agent {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.run == nil {
		return nil
	}
	return n.run.agent
}
