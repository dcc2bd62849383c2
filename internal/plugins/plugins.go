// Package plugins finds other people's plugins on this host and speaks with them:
// version 1 of Docker's protocol, JSON over HTTP on a socket
// (https://docs.docker.com/engine/extend/plugin_api/).
//
//	Get(name, role) ─▶ find: .sock, .spec, .json ─▶ /Plugin.Activate ─▶ Plugin ─▶ Call
//
// A plugin is found by its name when somebody needs it, not before. It may die and come
// back at any time: what cannot be reached is tried again for some seconds, and activated
// anew once it was away. Nothing that a plugin says is trusted: answers are bounded in
// time and size, and what they mean is for whoever asked.
//
// Managed plugins (version 2, "docker plugin install") are images that the engine would
// run; there are none.
package plugins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Roles of plugins, by the names of the protocol.
const (
	NetworkDriver = "NetworkDriver"
	IpamDriver    = "IpamDriver"
)

// Options are what a Registry is made of.
type Options struct {
	Places Places
	Logger *slog.Logger
	// Patience is for how long a plugin that is known is tried again while it cannot be
	// reached; 0: DefaultPatience. One that was never there gets Patience/2.
	Patience time.Duration
	// Changed is told of plugins that were used and are away, or are there again; nil: nobody
	// is. It must not wait.
	Changed func(Change)
}

// DefaultPatience is about what a plugin takes to be started anew.
const DefaultPatience = 5 * time.Second

// Registry knows the plugins of this host. Its methods may be called from any goroutine.
type Registry struct {
	places   Places
	log      *slog.Logger
	patience time.Duration
	changed  func(Change)

	mu      sync.Mutex // guards what follows
	plugins map[string]*entry
	hooks   []Hook
}

// Hook is told of a plugin that was activated: for the first time, or after it was away.
type Hook func(ctx context.Context, p *Plugin)

// New returns a registry.
func New(o Options) *Registry {
	r := &Registry{places: o.Places, log: o.Logger, patience: o.Patience, changed: o.Changed, plugins: map[string]*entry{}}
	if r.patience == 0 {
		r.patience = DefaultPatience
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	return r
}

// OnActivate has a hook called before anybody else gets a plugin that was activated. It is
// for before the first Get.
func (r *Registry) OnActivate(h Hook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hooks = append(r.hooks, h)
}

// entry is one plugin, as far as it is known.
type entry struct {
	name string
	turn chan struct{} // has one element, whose holder activates the plugin

	mu     sync.Mutex // guards what follows
	active *Plugin    // nil: it was not activated, or was away since
	last   *Plugin    // the last that was active
}

// Plugin is a plugin that was activated.
type Plugin struct {
	Name       string
	Address    Address
	Implements []string
	client     *client
	entry      *entry
	registry   *Registry
}

func (r *Registry) entry(name string) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, known := r.plugins[name]
	if !known {
		e = &entry{name: name, turn: make(chan struct{}, 1)}
		r.plugins[name] = e
	}
	return e
}

// Get returns the plugin of a name that has a role, activated. Errors: NotFound, in
// Docker's words, if there is none; Unfit if it cannot be activated or does not have the
// role.
func (r *Registry) Get(ctx context.Context, name, role string) (*Plugin, error) {
	if !names.MatchString(name) {
		return nil, notFound(name)
	}
	e := r.entry(name)
	p := e.get()
	if p == nil {
		select {
		case e.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		defer func() { <-e.turn }()
		if p = e.get(); p == nil {
			var err error
			if p, err = r.activate(ctx, e); err != nil {
				r.forget(e)
				return nil, err
			}
		}
	}
	if !slices.Contains(p.Implements, role) {
		return nil, &model.Error{Op: "plugin.get", Subject: "plugin " + name, Kind: model.Unfit,
			Err: fmt.Errorf("legacy plugin: Plugin does not implement the requested driver: plugin=%q, requested implementation=%q", name, role)}
	}
	return p, nil
}

func (e *entry) get() *Plugin {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.active
}

// forget drops the entry of a name that was never a plugin's, so that names cannot fill
// the memory.
func (r *Registry) forget(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last == nil {
		delete(r.plugins, e.name)
	}
}

// activate finds a plugin and shakes hands with it. The caller has its turn.
func (r *Registry) activate(ctx context.Context, e *entry) (*Plugin, error) {
	a, err := r.await(ctx, e)
	if err != nil {
		return nil, err
	}
	c, err := newClient(a)
	if err != nil {
		return nil, model.Errorf(model.Unfit, "legacy plugin: %w", err)
	}
	var manifest struct{ Implements []string }
	if err := c.call(ctx, r.patience, "Plugin.Activate", nil, &manifest); err != nil {
		return nil, model.Errorf(model.Unfit, "legacy plugin: %w", err)
	}
	p := &Plugin{e.name, a, manifest.Implements, c, e, r}
	r.log.Info("plugin is there", "op", "plugin.activate", "plugin", e.name, "address", a.URL, "implements", manifest.Implements)
	r.mu.Lock()
	hooks := slices.Clone(r.hooks)
	r.mu.Unlock()
	for _, hook := range hooks {
		hook(ctx, p)
	}
	e.mu.Lock()
	again := e.last != nil
	e.active, e.last = p, p
	e.mu.Unlock()
	if again {
		r.tell(Change{Plugin: p.fact(true)})
	}
	return p, nil
}

// await returns where a plugin listens, and waits a little for it to come: many begin at
// the same time as those who need them.
func (r *Registry) await(ctx context.Context, e *entry) (Address, error) {
	end := time.Now().Add(r.patience / 2)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		a, err := r.places.find(e.name)
		if err == nil || model.KindOf(err) != model.NotFound || time.Now().Add(pause).After(end) {
			return a, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return a, err
		}
	}
}

// Call calls a method, such as "NetworkDriver.Join", with what is written as JSON, and
// reads the answer into out. What cannot be reached is tried again for some seconds.
// Errors: *UnreachableError; *StatusError; else the call may have had an effect.
func (p *Plugin) Call(ctx context.Context, method string, in, out any) error {
	return p.call(ctx, p.registry.patience, method, in, out)
}

// CallOnce is Call without another attempt.
func (p *Plugin) CallOnce(ctx context.Context, method string, in, out any) error {
	return p.call(ctx, 0, method, in, out)
}

func (p *Plugin) call(ctx context.Context, patience time.Duration, method string, in, out any) error {
	err := p.client.call(ctx, patience, method, in, out)
	var away *UnreachableError
	if errors.As(err, &away) {
		p.registry.away(p.entry, p, err)
	}
	return err
}

// List returns the plugins that are in their places, and those that were, by name. It
// speaks with none.
func (r *Registry) List() []facts.Plugin {
	found := map[string]facts.Plugin{}
	for _, name := range r.places.list() {
		if a, err := r.places.find(name); err == nil {
			found[name] = facts.Plugin{Name: name, Address: a.URL}
		}
	}
	r.mu.Lock()
	entries := make([]*entry, 0, len(r.plugins))
	for _, e := range r.plugins {
		entries = append(entries, e)
	}
	r.mu.Unlock()
	for _, e := range entries {
		e.mu.Lock()
		if p := e.last; p != nil {
			found[e.name] = p.fact(e.active != nil)
		}
		e.mu.Unlock()
	}
	return slices.SortedFunc(maps.Values(found), func(a, b facts.Plugin) int { return cmp.Compare(a.Name, b.Name) })
}
