package main

import (
	"context"
	"sync"

	"github.com/linkspan/linkspan/internal/leases"
	"github.com/linkspan/linkspan/internal/model"
)

// leaseSource asks DHCP servers, by the keeper.
func (d *daemon) leaseSource() leases.Source {
	return leases.Source{Keeper: d.keeper, Drivers: drivers(d.config)}
}

// followLeases notes what DHCP servers say of the leases that the keeper holds, until the
// daemon ends. The files of a container follow when nothing else is done with it.
func (d *daemon) followLeases() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	f := &leases.Follower{
		Source: d.leaseSource(), Engine: d.engine, Events: &d.events, Logger: d.log,
		Changed: func(id model.ContainerID) {
			running.Go(func() { d.manager.Readdressed(ctx, id) })
		},
	}
	running.Go(func() { f.Follow(ctx) })
	d.later(func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
}
