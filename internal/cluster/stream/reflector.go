package stream

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// Holds tells whether a host has an endpoint of a network with these addresses, as the
// swarm knows it; known is false if the swarm does not answer. It may take its time.
type Holds func(ctx context.Context, r model.Remote) (held, known bool)

// Reflector is a manager's side. Serve may be called from any goroutine.
type Reflector struct {
	holds Holds
	grace time.Duration
	log   *slog.Logger

	mu       sync.Mutex // guards the fields below, and those of sessions
	table    *table
	sessions map[string]*session    // of hosts that are here, by node
	waiting  map[string]*time.Timer // until a host that was here is forgotten
	closed   bool
}

// NewReflector returns one that knows nothing yet. Rows that holds does not know are not
// told to anybody until it does. A host that is silent is forgotten after the grace.
func NewReflector(holds Holds, grace time.Duration, log *slog.Logger) *Reflector {
	return &Reflector{holds: holds, grace: grace, log: log, table: newTable(), sessions: map[string]*session{}, waiting: map[string]*time.Timer{}}
}

// session is a host that is here.
type session struct {
	wire
	node      string
	epoch     uint64
	networks  map[model.NetworkID]bool
	sent      map[ID]bool
	dirty     map[ID]bool
	whole     map[string]bool // hosts to be told of: true if all their rows are known, else they are gone
	asked     bool            // it was said in which networks the host takes part
	named     bool            // it has named all its rows, and nobody was told so
	unsettled bool            // and it was not told that it has all of them
	wake      chan struct{}
	unproved  map[model.EndpointID]model.Remote
}

// Close ends all sessions.
func (r *Reflector) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, s := range r.sessions {
		_ = s.conn.Close()
	}
	for _, t := range r.waiting {
		t.Stop()
	}
}

// Serve speaks with a host until one of the two ends it, and closes the connection. node
// is who the host has proved to be. The error says why the session ended; nil if the host
// left the swarm, or is here anew.
func (r *Reflector) Serve(ctx context.Context, conn net.Conn, node string) error {
	defer conn.Close()
	s := &session{
		wire: newWire(conn), node: node, networks: map[model.NetworkID]bool{}, sent: map[ID]bool{}, dirty: map[ID]bool{},
		whole: map[string]bool{}, wake: make(chan struct{}, 1), unproved: map[model.EndpointID]model.Remote{},
	}
	first, err := s.read()
	if err != nil {
		return err
	}
	if first.Hello == nil {
		return fmt.Errorf("node %s begins without a greeting", node)
	}
	s.epoch = first.Hello.Epoch
	if !r.begin(s) {
		return fmt.Errorf("node %s is here already, in a later life", node)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var beside sync.WaitGroup
	beside.Go(func() { defer conn.Close(); s.talk(ctx, r) })
	beside.Go(func() { r.prove(ctx, s) })
	left, err := r.listen(ctx, s, first)
	r.end(s, left)
	cancel()
	_ = conn.Close()
	beside.Wait()
	if left {
		return nil
	}
	return err
}

// begin takes up a session in place of the one before.
func (r *Reflector) begin(s *session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, here := r.sessions[s.node]; here && old.epoch > s.epoch || r.closed {
		return false
	} else if here {
		_ = old.conn.Close()
	}
	if t, waits := r.waiting[s.node]; waits {
		t.Stop()
		delete(r.waiting, s.node)
	}
	r.sessions[s.node] = s
	r.table.begin(s.node)
	for node, o := range r.table.hosts {
		if o.whole {
			s.whole[node] = true
		}
	}
	return true
}

// end forgets a session; its host's rows are gone at once if it left, and after the grace
// if it does not come back.
func (r *Reflector) end(s *session, left bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions[s.node] != s {
		return
	}
	delete(r.sessions, s.node)
	r.table.lost(s.node)
	switch {
	case r.closed:
	case left:
		r.forgetLocked(s.node)
	default:
		r.waiting[s.node] = time.AfterFunc(r.grace, func() { r.expire(s.node) })
	}
}

// expire forgets a host that did not come back.
func (r *Reflector) expire(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, waits := r.waiting[node]; waits && r.sessions[node] == nil {
		r.forgetLocked(node)
	}
}

// forgetLocked drops all that a host has published.
func (r *Reflector) forgetLocked(node string) {
	delete(r.waiting, node)
	r.tellLocked(r.table.forget(node)...)
	for _, s := range r.sessions {
		s.whole[node] = false
		s.awake()
	}
}

// listen takes in what a host says, which has begun with m; true if it leaves the swarm.
func (r *Reflector) listen(ctx context.Context, s *session, m message) (left bool, err error) {
	for ; err == nil; m, err = s.read() {
		var proved []model.Remote
		for _, row := range m.Put {
			row.Node = s.node
			held := r.knows(row.Remote)
			if !held {
				held, _ = r.holds(ctx, row.Remote) // who does not know may do so later
			}
			if held {
				proved = append(proved, row.Remote)
			} else {
				r.doubt(s, row.Remote)
			}
		}
		r.mu.Lock()
		if r.sessions[s.node] != s {
			r.mu.Unlock()
			return false, net.ErrClosed
		}
		r.takeLocked(s, m, proved)
		r.mu.Unlock()
		if m.Bye {
			return true, nil
		}
	}
	return false, err
}

// knows tells whether a row was proved before.
func (r *Reflector) knows(row model.Remote) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	have, there := r.table.row(ID{row.Node, row.Endpoint})
	return there && same(have.Remote, row)
}

func (r *Reflector) takeLocked(s *session, m message, proved []model.Remote) {
	for _, row := range proved {
		delete(s.unproved, row.Endpoint)
		r.putLocked(s, row)
	}
	for _, id := range m.Drop {
		delete(s.unproved, id.Endpoint)
		if gone, there := r.table.drop(s.node, id.Endpoint); there {
			r.tellLocked(gone)
		}
	}
	if m.Networks != nil {
		r.subscribeLocked(s, *m.Networks)
	}
	if m.Synced {
		r.tellLocked(r.table.synced(s.node)...)
		s.named = true
	}
	r.completeLocked(s)
}

// completeLocked tells everybody that all rows of a host are known, once they are.
func (r *Reflector) completeLocked(s *session) {
	if !s.named || len(s.unproved) > 0 {
		return
	}
	s.named = false
	for _, other := range r.sessions {
		if other != s {
			other.whole[s.node] = true
			other.awake()
		}
	}
}

func (r *Reflector) putLocked(s *session, row model.Remote) {
	before, there := r.table.row(ID{s.node, row.Endpoint})
	if r.table.put(s.node, row) {
		now, _ := r.table.row(ID{s.node, row.Endpoint})
		r.tellLocked(now)
		if there {
			r.tellLocked(before) // it may have been on another network
		}
	}
}

// tellLocked has everybody told of rows as they are now who takes part in their networks.
func (r *Reflector) tellLocked(rows ...Row) {
	for _, row := range rows {
		for _, s := range r.sessions {
			if s.node != row.Node && (s.networks[row.Network] || s.sent[row.id()]) {
				s.dirty[row.id()] = true
				s.awake()
			}
		}
	}
}

// subscribeLocked notes in which networks a host takes part.
func (r *Reflector) subscribeLocked(s *session, networks []model.NetworkID) {
	before := s.networks
	s.networks, s.asked, s.unsettled = map[model.NetworkID]bool{}, true, true
	for _, n := range networks {
		s.networks[n] = true
		if !before[n] {
			for _, id := range r.table.on(n, s.node) {
				s.dirty[id] = true
			}
		}
	}
	for id := range s.sent {
		if row, there := r.table.row(id); !there || !s.networks[row.Network] {
			s.dirty[id] = true
		}
	}
	s.awake()
}

func (s *session) awake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// talk tells a host what it is to know, until the connection fails.
func (s *session) talk(ctx context.Context, r *Reflector) {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		for {
			m, some := r.next(s)
			if !some {
				break
			}
			if err := s.write(m); err != nil {
				return
			}
		}
		select {
		case <-s.wake:
		case <-tick.C:
			if err := s.write(message{}); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// next returns what a host is to be told next: rows, and when there are none left, which
// hosts are known as a whole.
func (r *Reflector) next(s *session) (m message, some bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range s.dirty {
		if len(m.Put) == maxBatch {
			return m, true
		}
		delete(s.dirty, id)
		row, there := r.table.row(id)
		switch {
		case there && s.networks[row.Network]:
			m.Put = append(m.Put, row)
			s.sent[id] = true
		case s.sent[id]:
			m.Drop = append(m.Drop, id)
			delete(s.sent, id)
		}
	}
	if !s.asked {
		return m, false
	}
	for node, whole := range s.whole {
		if whole {
			m.Whole = append(m.Whole, node)
		} else {
			m.Gone = append(m.Gone, node)
		}
	}
	clear(s.whole)
	m.Synced, s.unsettled = s.unsettled, false
	return m, m.Synced || len(m.Put)+len(m.Drop)+len(m.Whole)+len(m.Gone) > 0
}

// How often, and how many times, a row is looked up that the swarm does not know. A host
// may be faster than the manager.
const (
	proveEvery = 500 * time.Millisecond
	proveTimes = 40
)

// doubt keeps a row that nobody is told of yet.
func (r *Reflector) doubt(s *session, row model.Remote) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(s.unproved) < maxRows {
		s.unproved[row.Endpoint] = row
	}
	if gone, there := r.table.drop(s.node, row.Endpoint); there {
		r.tellLocked(gone)
	}
}

// prove looks rows up again that were in doubt.
func (r *Reflector) prove(ctx context.Context, s *session) {
	tick := time.NewTicker(proveEvery)
	defer tick.Stop()
	tries := map[model.EndpointID]int{}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		r.mu.Lock()
		var list []model.Remote
		for _, row := range s.unproved {
			list = append(list, row)
		}
		maps.DeleteFunc(tries, func(id model.EndpointID, _ int) bool { _, still := s.unproved[id]; return !still })
		r.mu.Unlock()
		for _, row := range list {
			held, known := r.holds(ctx, row)
			if !known {
				continue // a swarm without a leader has refused nothing
			}
			tries[row.Endpoint]++
			r.mu.Lock()
			if now, still := s.unproved[row.Endpoint]; still && same(now, row) && r.sessions[s.node] == s {
				if held {
					r.putLocked(s, row)
				}
				if held || tries[row.Endpoint] >= proveTimes {
					delete(s.unproved, row.Endpoint)
					delete(tries, row.Endpoint)
					r.completeLocked(s)
				}
				if !held && tries[row.Endpoint] == 0 {
					r.log.Warn("a host tells of an endpoint that the swarm does not know", "op", "stream.row", "node", s.node, "network", row.Network, "addrs", row.Addrs)
				}
			}
			r.mu.Unlock()
		}
	}
}
