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
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/agent/exec"
	"github.com/moby/swarmkit/v2/api"
	swarmlog "github.com/moby/swarmkit/v2/log"
	"github.com/moby/swarmkit/v2/manager/allocator/networkallocator"
	"github.com/moby/swarmkit/v2/node"
	"google.golang.org/grpc"

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
	Folder   string // of the node's state; 0700
	Socket   string // the manager's own, in a folder of 0700
	Executor exec.Executor
	Networks networkallocator.Provider
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
	again  bool // it was ready once, or has been started again: it is to go on
	ended  bool // Stop was called
	first  *run // of the first start, for those who wait for it
	work   sync.WaitGroup
}

// run is one life of swarmkit's node.
type run struct {
	node  *node.Node
	ready chan struct{} // closed when it takes part in the swarm
	done  chan struct{} // closed when it has ended, after err was set
	err   error
	conn  *grpc.ClientConn // to its own manager; nil if there is none, or no leader
}

// Start starts a node. Whether it can take part is told by Ready.
func Start(o Options, c Config) (*Node, error) {
	n := &Node{o: o, log: o.Logger, config: c, pause: againFirst}
	if n.o.Changed == nil {
		n.o.Changed = func() {}
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
	ctx, cancel := context.WithCancel(swarmlog.WithLogger(context.Background(), bridge(n.log)))
	if err := sk.Start(ctx); err != nil {
		cancel()
		return err
	}
	r := &run{node: sk, ready: make(chan struct{}), done: make(chan struct{})}
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
		StateDir: n.o.Folder, ListenControlAPI: n.o.Socket,
		ListenRemoteAPI: c.ListenAddr, AdvertiseRemoteAPI: c.AdvertiseAddr,
		JoinAddr: joinAddr, JoinToken: c.JoinToken, ForceNewCluster: c.ForceNewCluster,
		AutoLockManagers: c.AutoLock, UnlockKey: c.UnlockKey,
		HeartbeatTick: heartbeatTick, ElectionTick: electionTick,
		Executor: n.o.Executor, NetworkProvider: n.o.Networks,
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
	n.mu.Lock()
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
	n.o.Changed()
}

// followSocket keeps the connection to the node's own manager.
func (n *Node) followSocket(ctx context.Context, r *run) {
	for conn := range r.node.ListenControlSocket(ctx) {
		n.mu.Lock()
		r.conn = conn
		n.mu.Unlock()
		n.o.Changed()
	}
}

// untilEnd waits for the end of a run, and has it started again unless it was asked to
// end, or never came to take part.
func (n *Node) untilEnd(r *run) {
	err := r.node.Err(context.Background())
	if errors.Is(err, node.ErrInvalidUnlockKey) {
		err = errLocked()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r.err, r.conn = err, nil
	n.run, n.err = nil, err
	close(r.done)
	defer n.o.Changed()
	if n.ended {
		return
	}
	if err != nil {
		n.log.Warn("the node of the swarm ended", "op", "swarm.run", "err", err)
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

// Stop ends the node and waits for that.
func (n *Node) Stop() error {
	n.mu.Lock()
	n.ended = true
	if n.wait != nil {
		n.wait()
		n.wait = nil
	}
	r := n.run
	n.mu.Unlock()
	if r != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := r.node.Stop(ctx); err != nil && !strings.Contains(err.Error(), context.Canceled.Error()) {
			return fmt.Errorf("stop the node of the swarm: %w", err)
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

// current returns the run of now, or nil.
func (n *Node) current() *run {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.run
}
