package main

import (
	"context"
	"errors"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/hostfilter"
	"github.com/linkspan/linkspan/internal/kernel/iptables"
	"github.com/linkspan/linkspan/internal/kernel/nft"
	"github.com/linkspan/linkspan/internal/model"
)

// takeAway returns what leaves the host as it was, if that was asked for (`linkspan teardown`). It runs once containers
// have stopped and the engine has ended, which would repair it. What is stored stays: a later daemon brings all of it back.
func takeAway(d *daemon) func(context.Context) error {
	return func(ctx context.Context) error {
		if !d.told.teardown.Load() || d.engine == nil {
			return nil
		}
		want, err := before(d.engine.Snapshot().Host())
		if err != nil {
			return err
		}
		_, inKeeper := d.keeper.Resync(ctx, desired.State{})
		_, inKernel := d.kernel.Resync(ctx, want)
		d.log.Info("what was made of the host is taken away; data stays", "op", "daemon.teardown", "root", d.config.DataRoot)
		return errors.Join(inKeeper, inKernel)
	}
}

// before is what the host is to be like without us. Only what we switched on is switched off.
func before(h model.Host) (desired.State, error) {
	var rows []desired.Row
	if h.Forwarding4 {
		rows = append(rows, desired.Sysctl{Path: "net/ipv4/ip_forward", Value: "0"})
	}
	if h.Forwarding6 {
		rows = append(rows, desired.Sysctl{Path: "net/ipv6/conf/all/forwarding", Value: "0"})
	}
	return desired.State{}.Replace(desired.OwnerOf("host", "before"), rows)
}

// clearRules returns what removes the tables and chains of either firewall backend, if that was asked for. DOCKER-USER,
// which is the administrator's, stays where it has rules.
func clearRules(d *daemon, tables *nft.Backend) func(context.Context) error {
	return func(ctx context.Context) error {
		if !d.told.teardown.Load() {
			return nil
		}
		_, failed := tables.Clear(ctx)
		filter := hostfilter.New(nil, hostfilter.Options{IPv4: true, IPv6: true, Logger: d.log})
		_, inFilter := filter.Clear(ctx)
		return errors.Join(failed, inFilter, filter.Close(), iptables.Remains{Logger: d.log}.Clean(ctx))
	}
}
