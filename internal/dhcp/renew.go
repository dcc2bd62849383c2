package dhcp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// keep renews a lease from now on. The caller holds mu.
func (c *Client) keep(h *held) {
	ctx, cancel := context.WithCancel(c.ctx)
	h.cancel = cancel
	c.work.Go(func() {
		defer cancel()
		for ctx.Err() == nil {
			why := c.live(ctx, h)
			if why == "" || ctx.Err() != nil {
				return
			}
			c.update(ctx, h, func() { h.Lost = why })
			c.regain(ctx, h)
		}
	})
}

// live renews a lease until it is lost, and says why; empty if it never ends, or ctx does.
func (c *Client) live(ctx context.Context, h *held) string {
	for {
		lease, _ := c.current(h)
		if lease.Until.IsZero() || !wait(ctx, time.Until(lease.Renew)) {
			return ""
		}
		err := c.extend(ctx, h)
		switch {
		case ctx.Err() != nil:
			return ""
		case errors.Is(err, errRefused):
			return fmt.Sprintf("server %s does not renew %s", lease.Server, lease.Prefix.Addr())
		case err != nil:
			return fmt.Sprintf("%s has run out: %v", lease.Prefix.Addr(), err)
		}
	}
}

// extend asks for more time until it is given, refused, or over: the server that gave the
// lease first, then any. Between two attempts it waits for half of what is left.
func (c *Client) extend(ctx context.Context, h *held) error {
	lease, g := c.current(h)
	r := h.Request
	for {
		left := time.Until(lease.Until)
		if left <= 0 {
			return errors.New("no server has renewed it")
		}
		rebind := !time.Now().Before(lease.Rebind)
		try, cancel := context.WithTimeout(ctx, min(left, 4*c.o.Second))
		renewed, err := c.exchange(try, r, func(s speaker, ctx context.Context) (given, error) { return s.renew(ctx, g, rebind) })
		cancel()
		switch {
		case err == nil:
			c.update(ctx, h, func() { h.Lease, h.hop = renewed.lease, renewed.hop })
			return nil
		case errors.Is(err, errRefused):
			return err
		}
		next := lease.Until
		if !rebind {
			next = lease.Rebind
		}
		if !wait(ctx, min(time.Until(lease.Until), max(renewalPause, time.Until(next)/2))) {
			return ctx.Err()
		}
	}
}

// regain asks for a lease until there is one.
func (c *Client) regain(ctx context.Context, h *held) {
	pause := retryFirst
	for {
		lease, _ := c.current(h)
		r := h.Request
		r.Want = lease.Prefix.Addr()
		g, err := c.exchange(ctx, r, speaker.acquire)
		if err == nil {
			c.update(ctx, h, func() { h.Lease, h.hop, h.Lost = g.lease, g.hop, "" })
			return
		}
		c.o.Logger.Warn("no lease in place of the one that was lost", "op", "dhcp.regain", "device", r.Device, "endpoint", model.Short(r.Endpoint), "err", err)
		if !wait(ctx, pause) {
			return
		}
		pause = min(2*pause, retryLast)
	}
}

// current returns a lease as it is now.
func (c *Client) current(h *held) (model.Lease, given) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return h.Lease, given{h.Lease, h.hop}
}

// update changes a lease that is still held.
func (c *Client) update(ctx context.Context, h *held, change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() == nil && c.leases[keyOf(h.Request)] == h {
		change()
		c.note()
	}
}

// wait waits for a time; false if ctx ends before.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
