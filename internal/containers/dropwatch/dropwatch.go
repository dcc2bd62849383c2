// Package dropwatch tells in the log of containers whose frames port security drops: without
// it, what is dropped is a riddle to their users. It changes nothing.
package dropwatch

import (
	"context"
	"log/slog"
	"time"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Reader reads what port security has dropped: only of ports of which anything
// was.
type Reader interface {
	Drops(ctx context.Context) ([]facts.PortDrops, error)
}

const (
	// dropsEvery is how often drops are looked at, and dropsLimit how long that may
	// take.
	dropsEvery = 10 * time.Second
	dropsLimit = 5 * time.Second
	// hintEvery is how often one container is spoken of.
	hintEvery = time.Hour
)

// Engine is where ports are looked up.
type Engine interface {
	Snapshot() *state.Snapshot
}

// Options is what a Watch is made of.
type Options struct {
	Engine  Engine
	Drivers driver.Set
	Drops   Reader // nil: nobody is told
	Log     *slog.Logger
}

// Watch remembers what was said about drops, and of how many it was known. Times are
// those of the monotonic clock. It is for one goroutine.
type Watch struct {
	o      Options
	seen   map[facts.PortDrops]uint64 // frames, by port and kind
	said   map[model.ContainerID]time.Time
	primed bool
}

// New returns a Watch that has said nothing yet.
func New(o Options) *Watch {
	return &Watch{o: o, seen: map[facts.PortDrops]uint64{}, said: map[model.ContainerID]time.Time{}}
}

// Run looks again and again, until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	if w.o.Drops == nil {
		return
	}
	ticker := time.NewTicker(dropsEvery)
	defer ticker.Stop()
	for {
		look, cancel := context.WithTimeout(ctx, dropsLimit)
		drops, err := w.o.Drops.Drops(look)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.o.Log.Debug("drops were not read", "op", "port.drops", "err", err)
		default:
			w.Tell(time.Now(), drops)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Tell logs a line for each container of which something was dropped since the last
// time, and no line was written for an hour. What was dropped before the first look
// another daemon has told.
func (w *Watch) Tell(now time.Time, drops []facts.PortDrops) {
	news := w.news(drops)
	if len(news) == 0 {
		return
	}
	for id, at := range w.said {
		if now.Sub(at) >= hintEvery {
			delete(w.said, id)
		}
	}
	ports := w.o.Drivers.ByPort(w.o.Engine.Snapshot())
	for _, d := range news {
		a, ok := ports[d.Port]
		if _, told := w.said[a.Sandbox.Container]; !ok || told {
			continue
		}
		w.said[a.Sandbox.Container] = now
		w.o.Log.Warn("port security drops what a container sends: "+driver.Explain(d.Kind),
			"op", "port.drops", "container", model.Short(a.Sandbox.Container), "name", a.Sandbox.Name, "network", a.Network.Name,
			"kind", d.Kind, "frames", d.Packets, "way", driver.WayOut(d.Kind, a.Security, a.Sandbox.NetAdmin),
			"see", "linkspan port drops")
	}
}

// news are the drops of which there are more than last time, with how many more.
func (w *Watch) news(drops []facts.PortDrops) (out []facts.PortDrops) {
	seen := make(map[facts.PortDrops]uint64, len(drops))
	for _, d := range drops {
		key := facts.PortDrops{Port: d.Port, Kind: d.Kind}
		before := w.seen[key]
		if before > d.Packets {
			before = 0 // the firewall was written anew
		}
		if seen[key] = d.Packets; w.primed && d.Packets > before {
			d.Packets -= before
			out = append(out, d)
		}
	}
	w.seen, w.primed = seen, true
	return out
}
