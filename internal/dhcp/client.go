// Package dhcp gets addresses for containers from DHCP servers (RFC 2131, RFC 8415) and
// routers (RFC 4862), keeps them for as long as the containers live, and gives them back.
//
//	Ask ─▶ discover, offer, request, ack ─▶ held ─ renew ─ rebind ─▶ …      Return ─▶ release
//	                                         │
//	                                         ╰─ refused, or run out ─▶ lost ─▶ asked for anew
//
// It speaks by packet sockets on the interface of the host behind which the server is, in
// the name of a container whose own interface need not be there yet, and opens one for each
// exchange. What is held is also in a file, so that a client which takes over, or comes
// after a crash, goes on with it.
//
// It promises that nothing that a server says is believed which no host can use, and that
// whoever is slow holds up nobody but who asked. It configures no interface: whoever uses a
// lease is told of changes by Watch.
package dhcp

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	// maxLeases bounds what is held.
	maxLeases = 16384
	// maxExchanges bounds how many exchanges there are at a time.
	maxExchanges = 64
	// retryFirst and retryLast are how long it takes until a lost lease is asked for again.
	retryFirst, retryLast = time.Second, time.Minute
	// renewalPause is the least between two attempts to renew; RFC 2131 has a minute,
	// for leases that last hours.
	renewalPause = time.Second
)

// Options are how a Client works.
type Options struct {
	File   string // where leases are kept; empty: nowhere
	Logger *slog.Logger
	// Open opens a line to the network of an interface, for one family; Open of this package
	// if nil.
	Open func(device string, f model.Family) (Line, error)
	// Second is how long a second of waiting for servers is; a second if 0.
	Second time.Duration
}

// Client holds leases.
type Client struct {
	o         Options
	exchanges chan struct{}
	work      sync.WaitGroup

	mu       sync.Mutex // guards what follows
	leases   map[leaseKey]*held
	revision uint64
	changed  chan struct{} // closed when revision grows
	stop     context.CancelFunc
	ctx      context.Context // of those who renew; nil before Resume
}

// leaseKey is whose a lease is: an endpoint has one of each family.
type leaseKey struct {
	endpoint model.EndpointID
	family   model.Family
}

func keyOf(r facts.LeaseRequest) leaseKey { return leaseKey{r.Endpoint, r.Family()} }

// sorted returns what is held in an order that is always the same. The caller holds mu.
func (c *Client) sorted() []*held {
	keys := slices.SortedFunc(maps.Keys(c.leases), func(a, b leaseKey) int {
		return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.family, b.family))
	})
	out := make([]*held, 0, len(keys))
	for _, k := range keys {
		out = append(out, c.leases[k])
	}
	return out
}

// held is a lease of one endpoint. The client's mu guards it.
type held struct {
	facts.HeldLease
	hop    net.HardwareAddr
	cancel context.CancelFunc
}

// serves tells whether the lease is what is asked for.
func (h *held) serves(r facts.LeaseRequest) bool {
	return h.Lost == "" && h.Request.Device == r.Device && strings.EqualFold(h.Request.MAC, r.MAC) && (!r.Must || h.Lease.Prefix.Addr() == r.Want)
}

// New returns a client that holds nothing, and does nothing of its own before Resume.
func New(o Options) *Client {
	if o.Open == nil {
		o.Open = Open
	}
	if o.Second == 0 {
		o.Second = time.Second
	}
	return &Client{o: o, exchanges: make(chan struct{}, maxExchanges), leases: map[leaseKey]*held{},
		// Who has watched another client before sees that this one is new.
		revision: uint64(time.Now().UnixNano()), changed: make(chan struct{})}
}

// Resume reads the file, and renews what is held from now on.
func (c *Client) Resume() error {
	var all []written
	var err error
	if c.o.File != "" {
		all, err = load(c.o.File)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctx, c.stop = context.WithCancel(context.Background())
	for _, w := range all {
		if _, known := c.leases[keyOf(w.Request)]; !known && len(c.leases) < maxLeases {
			c.leases[keyOf(w.Request)] = &held{HeldLease: facts.HeldLease{Request: w.Request, Lease: w.Lease}, hop: w.Hop}
		}
	}
	for _, h := range c.leases {
		c.keep(h)
	}
	c.note()
	return err
}

// Pause ends all renewing, and leaves what is held to whoever reads the file next. It
// returns when nothing is written any more.
func (c *Client) Pause() {
	c.mu.Lock()
	if c.stop != nil {
		c.stop()
	}
	c.ctx = nil
	c.mu.Unlock()
	c.work.Wait()
}

// Ask returns a lease for an endpoint: the one that it has, or a new one. It ends with ctx.
func (c *Client) Ask(ctx context.Context, r facts.LeaseRequest) (model.Lease, error) {
	c.mu.Lock()
	h, known := c.leases[keyOf(r)]
	full := len(c.leases) >= maxLeases
	c.mu.Unlock()
	switch {
	case known && h.serves(r):
		return h.Lease, nil
	case known && h.Lost == "":
		// What cannot be given back runs out.
		_ = c.giveBack(ctx, keyOf(r))
	case known:
		c.forget(keyOf(r))
	case full:
		return model.Lease{}, model.Errorf(model.Unfit, "%d leases are held already", maxLeases)
	}
	g, err := c.exchange(ctx, r, speaker.acquire)
	if err != nil {
		return model.Lease{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.leases[keyOf(r)]; other != nil && other.cancel != nil {
		other.cancel() // somebody has asked for the same meanwhile
	}
	h = &held{HeldLease: facts.HeldLease{Request: r, Lease: g.lease}, hop: g.hop}
	c.leases[keyOf(r)] = h
	if c.ctx != nil {
		c.keep(h)
	}
	c.note()
	return g.lease, nil
}

// Return gives the leases of an endpoint back. That it has none is success.
func (c *Client) Return(ctx context.Context, id model.EndpointID) error {
	return errors.Join(c.giveBack(ctx, leaseKey{id, model.IPv4}), c.giveBack(ctx, leaseKey{id, model.IPv6}))
}

func (c *Client) giveBack(ctx context.Context, key leaseKey) error {
	h := c.forget(key)
	if h == nil || h.Lost != "" {
		return nil
	}
	_, err := c.exchange(ctx, h.Request, func(s speaker, _ context.Context) (given, error) {
		return given{}, s.release(given{h.Lease, h.hop})
	})
	return err
}

// forget ends the holding of a lease.
func (c *Client) forget(key leaseKey) *held {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, known := c.leases[key]
	if !known {
		return nil
	}
	delete(c.leases, key)
	if h.cancel != nil {
		h.cancel()
	}
	c.note()
	return h
}

// Empty tells whether nothing is held.
func (c *Client) Empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.leases) == 0
}

// Watch returns what is held once that is not what it was at the revision seen, and the
// revision that it is; at once for 0.
func (c *Client) Watch(ctx context.Context, seen uint64) (uint64, []facts.HeldLease, error) {
	for {
		c.mu.Lock()
		now, changed := c.revision, c.changed
		var all []facts.HeldLease
		if now != seen {
			for _, h := range c.sorted() {
				all = append(all, h.HeldLease)
			}
		}
		c.mu.Unlock()
		if now != seen {
			return now, all, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return seen, nil, ctx.Err()
		}
	}
}

// note tells those who watch, and writes the file. The caller holds mu.
func (c *Client) note() {
	c.revision++
	close(c.changed)
	c.changed = make(chan struct{})
	if c.o.File == "" {
		return
	}
	all := make([]written, 0, len(c.leases))
	for _, h := range c.sorted() {
		if h.Lost == "" {
			all = append(all, written{h.Request, h.Lease, h.hop})
		}
	}
	if err := save(c.o.File, all); err != nil {
		c.o.Logger.Error("leases are not written down", "op", "dhcp.save", "err", err)
	}
}

// speaker speaks for one endpoint: a dialog of either family.
type speaker interface {
	// acquire gets a lease; renew gets more time, with rebind from any server.
	acquire(ctx context.Context) (given, error)
	renew(ctx context.Context, g given, rebind bool) (given, error)
	// release gives a lease back.
	release(g given) error
}

// exchange opens a line and calls f with who speaks there.
func (c *Client) exchange(ctx context.Context, r facts.LeaseRequest, f func(speaker, context.Context) (given, error)) (given, error) {
	select {
	case c.exchanges <- struct{}{}:
		defer func() { <-c.exchanges }()
	case <-ctx.Done():
		return given{}, ctx.Err()
	}
	line, err := c.o.Open(r.Device, r.Family())
	if err != nil {
		return given{}, &model.Error{Op: "dhcp.open", Kind: model.Unfit, Err: err, Who: "the DHCP server is behind that interface"}
	}
	defer line.Close() //nolint:errcheck // nothing is lost
	d, err := newDialog(line, r, c.o.Second)
	if err != nil {
		return given{}, err
	}
	if !r.IPv6 {
		return f(d, ctx)
	}
	d6, err := newDialog6(d)
	if err != nil {
		return given{}, err
	}
	return f(d6, ctx)
}
