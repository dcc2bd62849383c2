// Package stats tells what containers use: docker stats, and what monitors read.
//
// It promises one answer a second and client, for as long as the container is there, and
// that one which does not run is answered too, without figures.
package stats

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/model"
)

// interval is how long one answer comes after another.
const interval = time.Second

// Container is one that is told of.
type Container interface {
	Record() containerrecord.Record
	// Gone tells whether the container was removed.
	Gone() bool
}

// Meter reads what containers use.
type Meter interface {
	// Usage returns what the container with this first process has used until now;
	// NotFound if it does not run.
	Usage(ctx context.Context, id model.ContainerID, pid int) (model.Usage, error)
}

// Stats tells what containers use. Its methods may be called from any goroutine.
type Stats struct {
	meter    Meter
	find     func(ref string) (Container, error)
	interval time.Duration
}

// New returns who tells of the containers that find finds.
func New(meter Meter, find func(ref string) (Container, error)) *Stats {
	return &Stats{meter: meter, find: find, interval: interval}
}

// Options say how often. Stream goes on until the container is removed or ctx ends; without
// it one answer is given, OneShot at once and without figures to compare with, else after a
// second.
type Options struct{ Stream, OneShot bool }

// Read gives send what a container uses. Errors: NotFound, and those of send.
func (s *Stats) Read(ctx context.Context, ref string, o Options, send func(container.StatsResponse) error) error {
	c, err := s.find(ref)
	if err != nil {
		return err
	}
	if !o.Stream && (o.OneShot || !c.Record().State.Running) {
		now, err := s.sample(ctx, c)
		if err != nil {
			return err
		}
		return send(now)
	}
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	var before container.StatsResponse
	for first := true; ; first = false {
		now, err := s.sample(ctx, c)
		if err != nil {
			return err
		}
		now.PreRead, now.PreCPUStats = before.Read, before.CPUStats
		if o.Stream || !first {
			if err := send(now); err != nil || !o.Stream {
				return err
			}
		}
		before = now
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		if c.Gone() {
			return nil
		}
	}
}

// sample returns what a container has used until now; no figures if it does not run.
func (s *Stats) sample(ctx context.Context, c Container) (container.StatsResponse, error) {
	rec := c.Record()
	out := container.StatsResponse{ID: string(rec.ID), Name: "/" + rec.Name, OSType: "linux"}
	if !rec.State.Running || rec.State.Pid == 0 {
		return out, nil
	}
	used, err := s.meter.Usage(ctx, rec.ID, rec.State.Pid)
	if model.KindOf(err) == model.NotFound || ctx.Err() != nil {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	fill(&out, used)
	if !rec.Host.NetworkMode.IsHost() { // its interfaces are the host's
		out.Networks = networks(used.Networks)
	}
	return out, nil
}
