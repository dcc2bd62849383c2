package main

import (
	"context"

	"github.com/linkspan/linkspan/internal/leases"
)

// followLeases notes what DHCP servers say of the leases that the keeper holds, until the
// daemon ends.
func (d *daemon) followLeases(source leases.Source) {
	f := &leases.Follower{Source: source, Engine: d.engine, Events: &d.events, Logger: d.log}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		f.Follow(ctx)
	}()
	d.later(func(context.Context) error {
		cancel()
		<-over
		return nil
	})
}
