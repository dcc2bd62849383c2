// Package inspect puts together what people and metrics read: published ports and who
// uses them, traffic of ports and networks, what port security dropped, what the firewall
// was asked for, and what becomes of a packet (read models).
//
//	snapshot, plan, counters of the kernel ─▶ Reader ─▶ door: tables, JSON, metrics
//
// It reads and changes nothing, keeps nothing, and looks at the kernel only when
// somebody asks. How the answer is written down is the door's.
package inspect

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// reading is how long a look at the counters may take.
const reading = 10 * time.Second

// Engine has the model, and what it asks of the kernel.
type Engine interface {
	Snapshot() *state.Snapshot
	Plan() desired.State
}

// TrafficReader reads the counters of published ports and networks.
type TrafficReader interface {
	Traffic(ctx context.Context) (facts.Traffic, error)
}

// Containers finds containers.
type Containers interface {
	Inspect(ctx context.Context, ref string) (container.InspectResponse, error)
}

// Options are what a Reader reads. Engine is needed.
type Options struct {
	Engine     Engine
	Drivers    driver.Set    // the kinds of networks there are
	Containers Containers    // nil: since when they run is not known
	Traffic    TrafficReader // nil: nothing is counted
	// Listeners says who waits at a port of the host, by TCP or UDP; nil: only
	// containers are known.
	Listeners func(ctx context.Context, port uint16) ([]facts.Listener, error)
	Explainer Explainer  // nil: packets are not followed
	Links     LinkReader // nil: what containers send and receive is not counted
}

// Reader answers questions about what runs. Its methods may be called from any
// goroutine.
type Reader struct{ o Options }

// New returns a reader.
func New(o Options) *Reader { return &Reader{o} }

// Traffic is what was counted, of one moment.
type Traffic struct {
	Ports    []Port    // by host port
	Networks []Network // by name
	Drops    []Drop    // by container and network
}

// Traffic returns all that is published, with what was counted. If the counters cannot
// be read the answer is still what is published.
func (r *Reader) Traffic(ctx context.Context) (Traffic, error) {
	t, err := r.counters(ctx)
	s := r.o.Engine.Snapshot()
	return Traffic{Ports: portsOf(s, t), Networks: networksOf(s, r.o.Drivers, t), Drops: dropsOf(s, r.o.Drivers, t.Drops)}, err
}

// counters reads what there is to read.
func (r *Reader) counters(ctx context.Context) (facts.Traffic, error) {
	if r.o.Traffic == nil {
		return facts.Traffic{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, reading)
	defer cancel()
	return r.o.Traffic.Traffic(ctx)
}

// Starts returns what tells since when a container runs, asking once for each. The
// time is zero if that is not known.
func (r *Reader) Starts(ctx context.Context) func(model.ContainerID) time.Time {
	known := map[model.ContainerID]time.Time{}
	return func(id model.ContainerID) time.Time {
		at, ok := known[id]
		if !ok && r.o.Containers != nil {
			if c, err := r.o.Containers.Inspect(ctx, string(id)); err == nil && c.State != nil {
				at, _ = time.Parse(time.RFC3339Nano, c.State.StartedAt) // zero if there is none
			}
			known[id] = at
		}
		return at
	}
}
