package plugins

import (
	"context"
	"errors"
	"net"
	"net/url"
	"syscall"
	"time"

	"github.com/linkspan/linkspan/internal/facts"
)

// Change is that a plugin which was used is away, or is there again.
type Change struct {
	Plugin facts.Plugin // Active says which of both it is
	Why    error        // why it is thought to be away
}

// Pauses of Watch.
const (
	// lookPause is between two looks at all plugins.
	lookPause = 2 * time.Second
	// lastTry bounds the pause between attempts to activate one that is there and cannot be.
	lastTry = time.Minute
)

// Watch looks after plugins that were used, until ctx ends: one that cannot be reached any
// more is noted as away though nobody asks it, and one that is there again is activated
// anew. It opens a connection and closes it again, and never keeps one: a plugin may serve
// one at a time.
func (r *Registry) Watch(ctx context.Context) { r.watch(ctx, lookPause) }

func (r *Registry) watch(ctx context.Context, pause time.Duration) {
	next := map[*entry]time.Time{} // when one that cannot be activated is tried again
	tried := map[*entry]time.Duration{}
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		for _, e := range r.known() {
			e.mu.Lock()
			active, last := e.active, e.last
			e.mu.Unlock()
			switch {
			case active != nil:
				if err := reach(ctx, active.Address); err != nil && ctx.Err() == nil {
					r.away(e, active, err)
				}
			case last != nil && time.Now().After(next[e]):
				if r.back(ctx, e) {
					delete(next, e)
					delete(tried, e)
					continue
				}
				tried[e] = min(max(2*tried[e], pause), lastTry)
				next[e] = time.Now().Add(tried[e])
			}
		}
	}
}

// known returns the entries of all plugins that were looked for.
func (r *Registry) known() []*entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*entry, 0, len(r.plugins))
	for _, e := range r.plugins {
		out = append(out, e)
	}
	return out
}

// back activates a plugin that was away, if it is there again. It tells whether there is
// nothing to wait for: it is active, or not there at all.
func (r *Registry) back(ctx context.Context, e *entry) bool {
	a, err := r.places.find(e.name)
	if err != nil || reach(ctx, a) != nil {
		return true
	}
	select {
	case e.turn <- struct{}{}:
	default:
		return true // somebody is about it
	}
	defer func() { <-e.turn }()
	if e.get() != nil {
		return true
	}
	_, err = r.activate(ctx, e)
	return err == nil
}

// reach tells whether somebody listens where a plugin should. One that has no time for
// another connection does.
func reach(ctx context.Context, a Address) error {
	u, err := url.Parse(a.URL)
	if err != nil {
		return err
	}
	network, at := "tcp", u.Host
	switch {
	case u.Scheme == "unix":
		network, at = "unix", u.Path
	case u.Port() != "":
	case u.Scheme == "https":
		at = net.JoinHostPort(u.Hostname(), "443")
	default:
		at = net.JoinHostPort(u.Hostname(), "80")
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, network, at)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return nil
	case err != nil:
		return err
	}
	return conn.Close()
}

// away notes that a plugin was not there, and tells so once.
func (r *Registry) away(e *entry, p *Plugin, why error) {
	e.mu.Lock()
	first := e.active == p
	if first {
		e.active = nil
	}
	e.mu.Unlock()
	if !first {
		return
	}
	r.log.Warn("plugin is away", "op", "plugin.watch", "plugin", p.Name, "address", p.Address.URL, "err", why)
	r.tell(Change{p.fact(false), why})
}

// tell tells of a change whoever wants to know.
func (r *Registry) tell(c Change) {
	if r.changed != nil {
		r.changed(c)
	}
}

func (p *Plugin) fact(active bool) facts.Plugin {
	return facts.Plugin{Name: p.Name, Address: p.Address.URL, Implements: p.Implements, Active: active}
}
