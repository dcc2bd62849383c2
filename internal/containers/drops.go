package containers

import (
	"context"
	"log/slog"
	"time"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// DropReader reads what port security has dropped: only of ports of which anything
// was.
type DropReader interface {
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

// hints remembers what was said about drops, and of how many it was known. Times
// are those of the monotonic clock.
type hints struct {
	seen   map[facts.PortDrops]uint64 // frames, by port and kind
	said   map[model.ContainerID]time.Time
	primed bool
}

func newHints() *hints {
	return &hints{seen: map[facts.PortDrops]uint64{}, said: map[model.ContainerID]time.Time{}}
}

// dropWatch tells of frames that port security drops.
type dropWatch struct {
	engine  Engine
	drivers driver.Set
	drops   DropReader // nil: nobody is told
	closed  context.Context
	log     *slog.Logger
}

// watchDrops tells in the log of containers whose frames are dropped, until the
// manager is closed: without it, what is dropped is a riddle to their users.
func (dw *dropWatch) watchDrops() {
	if dw.drops == nil {
		return
	}
	ticker := time.NewTicker(dropsEvery)
	defer ticker.Stop()
	h := newHints()
	for {
		ctx, cancel := context.WithTimeout(dw.closed, dropsLimit)
		drops, err := dw.drops.Drops(ctx)
		cancel()
		switch {
		case dw.closed.Err() != nil:
			return
		case err != nil:
			dw.log.Debug("drops were not read", "op", "port.drops", "err", err)
		default:
			dw.hint(h, time.Now(), drops)
		}
		select {
		case <-dw.closed.Done():
			return
		case <-ticker.C:
		}
	}
}

// hint logs a line for each container of which something was dropped since the last
// time, and no line was written for an hour. What was dropped before the first look
// another daemon has told.
func (dw *dropWatch) hint(h *hints, now time.Time, drops []facts.PortDrops) {
	news := h.news(drops)
	if len(news) == 0 {
		return
	}
	for id, at := range h.said {
		if now.Sub(at) >= hintEvery {
			delete(h.said, id)
		}
	}
	ports := dw.drivers.ByPort(dw.engine.Snapshot())
	for _, d := range news {
		a, ok := ports[d.Port]
		if _, told := h.said[a.Sandbox.Container]; !ok || told {
			continue
		}
		h.said[a.Sandbox.Container] = now
		dw.log.Warn("port security drops what a container sends: "+driver.Explain(d.Kind),
			"op", "port.drops", "container", model.Short(a.Sandbox.Container), "name", a.Sandbox.Name, "network", a.Network.Name,
			"kind", d.Kind, "frames", d.Packets, "way", driver.WayOut(d.Kind, a.Security, a.Sandbox.NetAdmin),
			"see", "linkspan port drops")
	}
}

// news are the drops of which there are more than last time, with how many more.
func (h *hints) news(drops []facts.PortDrops) (out []facts.PortDrops) {
	seen := make(map[facts.PortDrops]uint64, len(drops))
	for _, d := range drops {
		key := facts.PortDrops{Port: d.Port, Kind: d.Kind}
		before := h.seen[key]
		if before > d.Packets {
			before = 0 // the firewall was written anew
		}
		if seen[key] = d.Packets; h.primed && d.Packets > before {
			d.Packets -= before
			out = append(out, d)
		}
	}
	h.seen, h.primed = seen, true
	return out
}
