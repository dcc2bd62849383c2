package stream

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// Dial connects to a manager.
type Dial func(ctx context.Context, manager string) (net.Conn, error)

// Pauses between attempts to reach a manager.
const (
	againFirst = 200 * time.Millisecond
	againLast  = 5 * time.Second
)

// Client is a host's side: it publishes the host's endpoints to all managers, and has what
// one of them tells of the others'. Its methods may be called from any goroutine.
type Client struct {
	dial  Dial
	grace time.Duration
	log   *slog.Logger
	told  chan struct{}
	work  sync.WaitGroup

	mu       sync.Mutex // guards the fields below, and those of links
	epoch    uint64
	local    map[model.EndpointID]model.Remote
	networks []model.NetworkID
	links    map[string]*uplink
	current  *uplink             // whose rows count; nil: nobody's
	kept     map[ID]model.Remote // from before, until current knows better
	until    *time.Timer         // then nothing is kept any more
	closed   bool
}

// uplink is the way to one manager.
type uplink struct {
	name   string
	cancel context.CancelFunc
	rows   map[ID]Row
	whole  map[string]bool // hosts of which rows has all
	synced bool
	dirty  map[model.EndpointID]bool
	asks   bool // the manager is to be told of the networks
	wake   chan struct{}
}

// NewClient returns one that knows no manager yet, and of others' endpoints those that
// kept says, until a manager knows better.
func NewClient(dial Dial, kept []model.Remote, grace time.Duration, log *slog.Logger) *Client {
	c := &Client{
		dial: dial, grace: grace, log: log, told: make(chan struct{}, 1), epoch: uint64(time.Now().UnixNano()),
		local: map[model.EndpointID]model.Remote{}, links: map[string]*uplink{}, kept: map[ID]model.Remote{},
	}
	for _, r := range kept {
		c.kept[ID{r.Node, r.Endpoint}] = r
	}
	return c
}

// Told has a token after what Table returns may have changed.
func (c *Client) Told() <-chan struct{} { return c.told }

func (c *Client) tell() {
	select {
	case c.told <- struct{}{}:
	default:
	}
}

// SetManagers says which managers there are.
func (c *Client) SetManagers(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	for name, l := range c.links {
		if !slices.Contains(names, name) {
			l.cancel()
			delete(c.links, name)
			c.lostLocked(l)
		}
	}
	for _, name := range names {
		if _, known := c.links[name]; known {
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		l := &uplink{name: name, cancel: cancel, wake: make(chan struct{}, 1)}
		c.links[name] = l
		c.work.Go(func() { c.follow(ctx, l) })
	}
}

// Publish says which endpoints this host has, and in which networks it takes part.
func (c *Client) Publish(rows []model.Remote, networks []model.NetworkID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[model.EndpointID]model.Remote{}
	for _, r := range rows {
		if valid(r) && len(next) < maxRows {
			next[r.Endpoint] = r
		}
	}
	var changed []model.EndpointID
	for id, r := range next {
		if have, there := c.local[id]; !there || !same(have, r) {
			changed = append(changed, id)
		}
	}
	for id := range c.local {
		if _, there := next[id]; !there {
			changed = append(changed, id)
		}
	}
	c.local = next
	networks = slices.Sorted(slices.Values(networks))
	asks := !slices.Equal(networks, c.networks)
	c.networks = networks[:min(len(networks), maxNetworks)]
	if asks {
		c.forgetOtherLocked()
	}
	for _, l := range c.links {
		if l.dirty == nil {
			continue // it is told all when there is a session
		}
		for _, id := range changed {
			l.dirty[id] = true
		}
		l.asks = l.asks || asks
		if len(l.dirty) > 0 || l.asks {
			l.awake()
		}
	}
}

// forgetOtherLocked drops what is kept of networks in which the host takes no part.
func (c *Client) forgetOtherLocked() {
	maps.DeleteFunc(c.kept, func(_ ID, r model.Remote) bool { return !slices.Contains(c.networks, r.Network) })
	c.tell()
}

func (l *uplink) awake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Table returns the endpoints of other hosts on networks in which this one takes part, by
// network and ID. No two of a network have one address: that which came last has it.
func (c *Client) Table() []model.Remote {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tableLocked()
}

func (c *Client) tableLocked() []model.Remote {
	all := make([]Row, 0, len(c.kept))
	if c.current != nil {
		all = slices.AppendSeq(all, maps.Values(c.current.rows))
	}
	for id, r := range c.kept {
		if c.current == nil || c.current.rows[id].Endpoint == "" {
			all = append(all, Row{Remote: r})
		}
	}
	slices.SortFunc(all, func(a, b Row) int { // the last first
		return cmp.Or(-cmp.Compare(a.Rev, b.Rev), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Endpoint, b.Endpoint))
	})
	type place struct {
		network model.NetworkID
		addr    netip.Addr
	}
	taken := map[place]bool{}
	var out []model.Remote
	for _, r := range all {
		if !slices.Contains(c.networks, r.Network) {
			continue
		}
		free := func(a netip.Addr) bool { return !taken[place{r.Network, a}] }
		if !slices.ContainsFunc(r.Addrs, func(a netip.Addr) bool { return !free(a) }) {
			out = append(out, r.Remote)
			for _, a := range r.Addrs {
				taken[place{r.Network, a}] = true
			}
		}
	}
	slices.SortFunc(out, func(a, b model.Remote) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Node, b.Node))
	})
	return out
}

// Close ends all sessions. With bye the managers are told that the host leaves the swarm,
// for as long as ctx lasts.
func (c *Client) Close(ctx context.Context, bye bool) {
	c.mu.Lock()
	c.closed = true
	if c.until != nil {
		c.until.Stop()
	}
	for _, l := range c.links {
		if bye && l.dirty != nil && ctx.Err() == nil {
			l.awake() // says so, and ends by itself
			stop := context.AfterFunc(ctx, l.cancel)
			defer stop()
			continue
		}
		l.cancel()
	}
	c.mu.Unlock()
	c.work.Wait()
	for _, l := range c.links {
		l.cancel()
	}
}

// follow keeps a session with a manager, again and again.
func (c *Client) follow(ctx context.Context, l *uplink) {
	pause := againFirst
	for ctx.Err() == nil {
		conn, err := c.dial(ctx, l.name)
		if err == nil {
			began := time.Now()
			err = c.session(ctx, l, conn)
			if time.Since(began) > againLast {
				pause = againFirst
			}
		}
		c.mu.Lock()
		over := c.closed
		c.mu.Unlock()
		if over || ctx.Err() != nil {
			return
		}
		c.log.Debug("no session with a manager", "op", "stream.follow", "manager", l.name, "err", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, againLast)
	}
}

// session speaks with a manager until the connection fails.
func (c *Client) session(ctx context.Context, l *uplink, conn net.Conn) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	w := newWire(conn)
	c.mu.Lock()
	c.epoch++
	first := message{Hello: &hello{c.epoch}, Networks: ptr(slices.Clone(c.networks))}
	l.rows, l.whole, l.synced, l.asks, l.dirty = map[ID]Row{}, map[string]bool{}, false, false, map[model.EndpointID]bool{}
	for id := range c.local {
		l.dirty[id] = true
	}
	c.mu.Unlock()
	ended := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() {
		defer conn.Close()
		c.talk(ctx, ended, l, w, first)
	})
	var err error
	for err == nil {
		var m message
		if m, err = w.read(); err == nil {
			c.take(l, m)
		}
	}
	close(ended)
	_ = conn.Close()
	beside.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	l.dirty = nil
	c.lostLocked(l)
	return err
}

func ptr[T any](v T) *T { return &v }

// talk tells a manager what this host has, until the connection fails.
func (c *Client) talk(ctx context.Context, ended <-chan struct{}, l *uplink, w wire, m message) {
	if w.write(m) != nil {
		return
	}
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for whole := true; ; {
		for {
			m, more := c.next(l, &whole)
			if !more {
				break
			}
			if w.write(m) != nil || m.Bye {
				return
			}
		}
		select {
		case <-l.wake:
		case <-tick.C:
			if w.write(message{}) != nil {
				return
			}
		case <-ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

// next returns what a manager is to be told next. whole is set until it was told once that
// it has all.
func (c *Client) next(l *uplink, whole *bool) (m message, some bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return message{Bye: true}, true
	}
	if l.asks {
		l.asks, m.Networks, some = false, ptr(slices.Clone(c.networks)), true
	}
	for id := range l.dirty {
		if len(m.Put) == maxBatch {
			return m, true
		}
		delete(l.dirty, id)
		if r, there := c.local[id]; there {
			m.Put = append(m.Put, Row{Remote: r})
		} else {
			m.Drop = append(m.Drop, ID{Endpoint: id})
		}
	}
	m.Synced, *whole = *whole, false
	return m, some || m.Synced || len(m.Put)+len(m.Drop) > 0
}

// take takes in what a manager says.
func (c *Client) take(l *uplink, m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.links[l.name] != l {
		return // it is a manager no more, and what it says was on its way
	}
	for _, r := range m.Put {
		if _, there := l.rows[r.id()]; there || len(l.rows) < maxTable {
			l.rows[r.id()] = r
		}
	}
	for _, id := range m.Drop {
		delete(l.rows, id)
	}
	for _, node := range m.Whole {
		if l.whole[node] = true; len(l.whole) > maxRows {
			clear(l.whole)
		}
	}
	for _, node := range m.Gone {
		delete(l.whole, node)
	}
	l.synced = l.synced || m.Synced
	if l.synced && c.current == nil {
		c.chooseLocked(l)
	}
	if c.current != l {
		return
	}
	for _, id := range m.Drop {
		delete(c.kept, id)
	}
	for _, node := range slices.Concat(m.Whole, m.Gone) {
		maps.DeleteFunc(c.kept, func(id ID, _ model.Remote) bool { return id.Node == node })
	}
	c.tell()
}

// maxTable bounds what a host keeps of others' endpoints.
const maxTable = 1 << 20

// chooseLocked has a manager's rows count from now on. What was known before is kept for a
// while: hosts may not have come back to this manager yet.
func (c *Client) chooseLocked(l *uplink) {
	c.current = l
	maps.DeleteFunc(c.kept, func(id ID, _ model.Remote) bool { return l.whole[id.Node] })
	if c.until != nil {
		c.until.Stop()
	}
	c.until = time.AfterFunc(c.grace, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.current == l {
			clear(c.kept)
			c.tell()
		}
	})
}

// lostLocked says that there is no session with a manager any more. If its rows counted,
// they are kept, and another's count.
func (c *Client) lostLocked(l *uplink) {
	if c.current != l {
		return
	}
	all := c.tableLocked()
	clear(c.kept)
	for _, r := range all {
		c.kept[ID{r.Node, r.Endpoint}] = r
	}
	c.current = nil
	l.rows, l.synced = nil, false
	for _, other := range c.links {
		if other != l && other.synced && other.dirty != nil {
			c.chooseLocked(other)
			break
		}
	}
	c.tell()
}
