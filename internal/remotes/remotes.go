// Package remotes tells the other hosts of a swarm which endpoints this one has on their
// networks, and has the engine learn theirs.
//
//	engine ── Published ─▶ Wake ─▶ settle ─▶ stream.Client ══▶ managers
//	engine ◀── Learn(facts.Overlay) ── settle ◀── Told ── stream.Client ◀══ managers
//
// Without a swarm it has no goroutine but one that waits, no port and no file. It decides
// what is published, and what is known before a manager answers: what the file says that
// was written last.
package remotes

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/cluster/stream"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Engine has the model of this host, and what was learned.
type Engine interface {
	Snapshot() *state.Snapshot
	Facts() facts.Set
	Learn(ctx context.Context, learned ...facts.Fact) error
}

// Self is this host as a node of a swarm.
type Self struct {
	ID       string
	Name     string
	VTEP     netip.Addr   // where it receives the networks' packets
	Port     uint16       // UDP port of all nodes
	Guessed  bool         // the swarm has not said yet which port
	MTU      int          // of the interface with VTEP, in bytes
	Tunnel   facts.Tunnel // its end of the tunnel of encrypted networks; none while it is on no such network
	Manager  bool
	Managers []string // their addresses, without ports
}

// Node is the way to the swarm.
type Node interface {
	// Self returns this host; false if it is of no swarm. While its node is not there, the
	// ID is empty.
	Self() (Self, bool)
	// Dial connects to a manager.
	Dial(ctx context.Context, manager string) (net.Conn, error)
	// Serve has nodes that connect served, until ctx ends.
	Serve(ctx context.Context, serve func(ctx context.Context, conn net.Conn, node string)) error
	// Holds tells whether a node has an endpoint with these addresses. Managers are asked.
	// known is false if the swarm does not answer.
	Holds(ctx context.Context, r model.Remote) (held, known bool)
}

// Options are what a Manager is made of.
type Options struct {
	Engine Engine
	Node   Node
	File   string // what was known last is kept there
	// Key returns the public key of this host, which is made when it is first asked for, and
	// is another after Forget.
	Key     func() (public string, err error)
	KeyFile string // the private key is there
	Logger  *slog.Logger
}

// Manager keeps this host's part. Its methods may be called from any goroutine.
type Manager struct {
	o     Options
	wake  chan struct{}
	tasks sync.WaitGroup
	stop  context.CancelFunc

	// The fields below are of the goroutine of Run.
	client   *stream.Client
	manage   context.CancelFunc // ends the reflector; nil: this host manages nothing
	known    map[model.NetworkID]bool
	stored   []facts.Overlay
	retrying *time.Timer
}

// retryAfter is the pause after what the engine did not take in.
const retryAfter = time.Second

// byeTimeout bounds how long a host that leaves says so.
const byeTimeout = 2 * time.Second

// New returns a manager that does nothing before Start.
func New(o Options) *Manager {
	return &Manager{o: o, wake: make(chan struct{}, 1), known: map[model.NetworkID]bool{}}
}

// Wake has it look again at the model, and at the swarm. It does not wait.
func (m *Manager) Wake() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Start begins to keep this host's part, until Close.
func (m *Manager) Start(ctx context.Context) {
	ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	m.tasks.Go(func() { m.run(ctx) })
	m.Wake()
}

// Close ends it. The other hosts go on with what they know of this one.
func (m *Manager) Close() {
	if m.stop != nil {
		m.stop()
	}
	m.tasks.Wait()
}

func (m *Manager) run(ctx context.Context) {
	for {
		var told <-chan struct{}
		if m.client != nil {
			told = m.client.Told()
		}
		select {
		case <-m.wake:
		case <-told:
		case <-ctx.Done():
			m.part(ctx, false)
			return
		}
		m.settle(ctx)
	}
}

// settle makes what is published, and what is known, follow the model and the swarm.
func (m *Manager) settle(ctx context.Context) {
	self, member := m.o.Node.Self()
	if !member {
		m.part(ctx, true)
		m.learn(ctx, nil)
		return
	}
	if self.ID == "" {
		return // it will be a node again: until then all stays as it is
	}
	if m.client == nil {
		m.stored = stream.Load(m.o.File, m.o.Logger)
		var kept []model.Remote
		for _, o := range m.stored {
			kept = append(kept, o.Remotes...)
		}
		m.client = stream.NewClient(m.o.Node.Dial, kept, stream.DefaultGrace, m.o.Logger)
	}
	if self.Guessed && len(m.stored) > 0 { // no manager has answered since the start
		self.Port = m.stored[0].Port
	}
	m.follow(ctx, self.Manager)
	now := m.o.Engine.Snapshot()
	self.Tunnel = m.tunnel(now, self)
	rows, networks := Local(now, self)
	m.client.Publish(rows, networks)
	m.client.SetManagers(self.Managers)
	wanted := overlays(now, self, rows, m.client.Table())
	m.learn(ctx, wanted)
	var known []facts.Overlay
	for _, id := range networks {
		known = append(known, wanted[id])
	}
	if !reflect.DeepEqual(known, m.stored) {
		m.stored = known
		if err := stream.Save(m.o.File, known); err != nil {
			m.o.Logger.Warn("what is known of other hosts is not kept", "op", "remotes.save", "err", err)
		}
	}
}

// tunnelPort is the UDP port of all nodes' tunnel: the one behind that of VXLAN.
func tunnelPort(data uint16) uint16 { return data + 1 }

// tunnel returns this host's end of the tunnel, if it is on an encrypted network. Without a key
// it takes no part in such networks.
func (m *Manager) tunnel(s *state.Snapshot, self Self) facts.Tunnel {
	for n := range s.Networks() {
		if !n.Encrypted() {
			continue
		}
		public, err := m.o.Key()
		if err != nil {
			m.o.Logger.Error("containers on encrypted networks do not reach other hosts", "op", "remotes.key", "err", err)
			return facts.Tunnel{}
		}
		return facts.Tunnel{Port: tunnelPort(self.Port), PublicKey: public, KeyFile: m.o.KeyFile}
	}
	return facts.Tunnel{}
}

// part ends the sessions; with bye the host has left the swarm.
func (m *Manager) part(ctx context.Context, bye bool) {
	if m.client != nil {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTimeout)
		m.client.Close(limit, bye)
		cancel()
		m.client = nil
		if bye {
			stream.Forget(m.o.File)
			stream.Forget(m.o.KeyFile)
		}
	}
	m.follow(ctx, false)
}

// follow reflects rows while this host is a manager.
func (m *Manager) follow(ctx context.Context, manager bool) {
	switch {
	case manager && m.manage == nil:
		ctx, m.manage = context.WithCancel(ctx)
		r := stream.NewReflector(m.o.Node.Holds, stream.DefaultGrace, m.o.Logger)
		m.tasks.Go(func() {
			defer r.Close()
			m.serve(ctx, r)
		})
	case !manager && m.manage != nil:
		m.manage()
		m.manage = nil
	}
}

// serve serves the nodes that connect; a port that is taken is tried again.
func (m *Manager) serve(ctx context.Context, r *stream.Reflector) {
	for ctx.Err() == nil {
		err := m.o.Node.Serve(ctx, func(ctx context.Context, conn net.Conn, node string) {
			if err := r.Serve(ctx, conn, node); err != nil {
				m.o.Logger.Debug("a node's session ended", "op", "stream.serve", "node", node, "err", err)
			}
		})
		if ctx.Err() != nil {
			return
		}
		m.o.Logger.Warn("other hosts cannot tell of their endpoints", "op", "stream.listen", "err", err)
		timer := time.NewTimer(retryAfter)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// learn has the engine learn what differs from what it knows; of networks that are not
// wanted any more nothing is known.
func (m *Manager) learn(ctx context.Context, wanted map[model.NetworkID]facts.Overlay) {
	have := m.o.Engine.Facts()
	var changed, sealed []facts.Fact
	for id, o := range wanted {
		m.known[id] = true
		switch {
		case reflect.DeepEqual(have.Overlay(id), o):
		case o.Tunnel != (facts.Tunnel{}):
			sealed = append(sealed, o)
		default:
			changed = append(changed, o)
		}
	}
	for id := range m.known {
		if _, wants := wanted[id]; !wants {
			if !have.Overlay(id).Empty() {
				changed = append(changed, facts.Overlay{ID: id})
			} else {
				delete(m.known, id)
			}
		}
	}
	m.tell(ctx, changed)
	m.tell(ctx, sealed) // apart: a tunnel that cannot be made holds up nobody else
}

// tell has the engine learn facts, later if it cannot now.
func (m *Manager) tell(ctx context.Context, learned []facts.Fact) {
	if len(learned) == 0 {
		return
	}
	if err := m.o.Engine.Learn(ctx, learned...); err != nil && ctx.Err() == nil {
		m.o.Logger.Warn("what other hosts have is not reached yet", "op", "remotes.learn", "err", err)
		if m.retrying != nil {
			m.retrying.Stop()
		}
		m.retrying = time.AfterFunc(retryAfter, m.Wake)
	}
}

// Local returns the endpoints of this host that are up on networks over hosts, and those
// networks.
func Local(s *state.Snapshot, self Self) (rows []model.Remote, networks []model.NetworkID) {
	for n := range s.Networks() {
		if !n.Overlay() {
			continue
		}
		networks = append(networks, n.ID)
		if n.Ingress {
			rows = append(rows, model.Remote{
				Network: n.ID, Endpoint: model.EndpointID("gate of " + self.ID), Node: self.ID, Host: self.Name, VTEP: self.VTEP, Gate: true,
			})
		}
		for e := range s.EndpointsOn(n.ID) {
			sb, ok := s.Sandbox(e.Sandbox)
			if !ok || !e.Up {
				continue
			}
			r := model.Remote{Network: n.ID, Endpoint: e.ID, Node: self.ID, Host: self.Name, VTEP: self.VTEP, Names: model.DNSNames(sb, e), Service: e.Service, Serving: sb.Serving}
			if n.Encrypted() {
				r.PublicKey = self.Tunnel.PublicKey
			}
			for _, f := range model.Families {
				if a := e.Address(f); a.IsValid() {
					r.Addrs = append(r.Addrs, a)
				}
			}
			rows = append(rows, r)
		}
	}
	slices.Sort(networks)
	return rows, networks
}

// overlays says what is to be known of each network.
func overlays(s *state.Snapshot, self Self, local, remote []model.Remote) map[model.NetworkID]facts.Overlay {
	out := map[model.NetworkID]facts.Overlay{}
	for n := range s.Networks() {
		if !n.Overlay() {
			continue
		}
		id := n.ID
		o := facts.Overlay{ID: id, Local: self.VTEP, Port: self.Port, MTU: self.MTU - model.VXLANOverhead(self.VTEP)}
		if n.Encrypted() {
			o.Tunnel = self.Tunnel
			o.MTU -= model.WireGuardOverhead(self.VTEP)
		}
		peers := map[facts.Peer]bool{}
		for _, r := range local {
			if r.Network == id {
				peers[facts.Peer{Name: self.Name, Addr: self.VTEP}] = true
			}
		}
		for _, r := range remote {
			if r.Network == id {
				o.Remotes = append(o.Remotes, r)
				peers[facts.Peer{Name: r.Host, Addr: r.VTEP}] = true
			}
		}
		o.Peers = slices.SortedFunc(maps.Keys(peers), func(a, b facts.Peer) int { return a.Addr.Compare(b.Addr) })
		out[id] = o
	}
	return out
}
