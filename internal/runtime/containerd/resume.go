package containerd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
)

const (
	// keptFor is how long content is kept that was being fetched when that failed, or when the
	// daemon died: whoever tries again goes on from there.
	keptFor = 8 * time.Hour
	// leaseLimit is how long a transfer may take.
	leaseLimit = 24 * time.Hour
	// labelTransfer is on leases of transfers: what of.
	labelTransfer = "linkspan/transfer"
)

// held are the leases that are in use.
type held struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (h *held) set(id string, in bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ids == nil {
		h.ids = map[string]bool{}
	}
	if h.ids[id] = in; !in {
		delete(h.ids, id)
	}
}

func (h *held) has(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ids[id]
}

// Resume keeps what is written with the returned context from the collector, and with it what an
// earlier transfer of the same thing has left. end gives it up if it is over; if not, all of it
// stays for some hours, for the next to go on with.
func (c *Client) Resume(ctx context.Context, kind, of string) (leased context.Context, end func(over bool) error, err error) {
	service := c.LeasesService()
	left, err := c.abandoned(ctx, kind+" "+of)
	if err != nil {
		return ctx, nil, err
	}
	l, err := c.transferLease(ctx, kind+" "+of, leaseLimit)
	if err != nil {
		return ctx, nil, err
	}
	for _, old := range left {
		if err := c.takeOver(ctx, old, l); err != nil {
			return ctx, nil, errors.Join(err, c.endLease(ctx, l))
		}
	}
	leased = leases.WithLease(ctx, l.ID)
	return leased, func(over bool) error {
		ctx, cancel := c.Call(context.WithoutCancel(ctx))
		defer cancel()
		if over {
			return c.endLease(ctx, l)
		}
		has, err := service.ListResources(ctx, l)
		if err != nil || len(has) == 0 {
			return errors.Join(Faultf("lease", "", "look at a lease", err), c.endLease(ctx, l))
		}
		kept, err := c.transferLease(ctx, kind+" "+of, keptFor)
		if err != nil {
			return errors.Join(err, c.endLease(ctx, l))
		}
		defer c.held.set(kept.ID, false)
		return c.takeOver(ctx, l, kept)
	}, nil
}

// transferLease makes a lease and marks it as being in use.
func (c *Client) transferLease(ctx context.Context, label string, limit time.Duration) (leases.Lease, error) {
	id := fmt.Sprintf("transfer-%d-%s", time.Now().UnixNano(), strings.Map(onlyWord, label))
	if len(id) > 76 { // the longest identifier that containerd takes
		id = id[:76]
	}
	c.held.set(id, true)
	l, err := c.LeasesService().Create(ctx, leases.WithID(id), leases.WithLabel(labelTransfer, label), leases.WithExpiration(limit))
	if err != nil {
		c.held.set(id, false)
		return l, Faultf("lease", "", "make a lease", err)
	}
	return l, nil
}

func onlyWord(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}

// endLease gives a lease up.
func (c *Client) endLease(ctx context.Context, l leases.Lease) error {
	defer c.held.set(l.ID, false)
	if err := c.LeasesService().Delete(ctx, l); err != nil && !IsNotFound(err) {
		return Faultf("lease", "", "end a lease", err)
	}
	return nil
}

// takeOver puts under one lease what another has, and ends that.
func (c *Client) takeOver(ctx context.Context, from, to leases.Lease) error {
	service := c.LeasesService()
	has, err := service.ListResources(ctx, from)
	if IsNotFound(err) {
		return nil
	}
	for _, r := range has {
		if err == nil {
			err = service.AddResource(ctx, to, r)
		}
		if IsNotFound(err) { // was collected, or not yet there
			err = nil
		}
	}
	if err != nil {
		return Faultf("lease", "", "take over a lease", err)
	}
	return c.endLease(ctx, from)
}

// abandoned returns the leases of transfers that nobody goes on with: all, or those of one thing.
func (c *Client) abandoned(ctx context.Context, label string) ([]leases.Lease, error) {
	all, err := c.LeasesService().List(ctx)
	if err != nil {
		return nil, Faultf("lease", "", "list leases", err)
	}
	var out []leases.Lease
	for _, l := range all {
		if of, ok := l.Labels[labelTransfer]; ok && (label == "" || label == of) && !c.held.has(l.ID) {
			out = append(out, l)
		}
	}
	return out, nil
}

// DropAbandoned gives up what transfers that failed have left for the next try.
func (c *Client) DropAbandoned(ctx context.Context) error {
	left, err := c.abandoned(ctx, "")
	for _, l := range left {
		err = errors.Join(err, c.endLease(ctx, l))
	}
	return err
}
