package main

import (
	"context"
	"time"

	"github.com/linkspan/linkspan/internal/engine"
	"github.com/linkspan/linkspan/internal/firewalld"
	"github.com/linkspan/linkspan/internal/kernel/hostfilter"
)

// openZones begins to follow firewalld, if there is to be a firewall at all.
func (d *daemon) openZones() []engine.Hand {
	if s := firewallSettings(d.config); s.Off4 && s.Off6 {
		return nil
	}
	d.zones = firewalld.New(firewalld.Options{Logger: d.log, Reloaded: d.repairAfterReload, BeforeReload: d.keepUserRules})
	d.later(func(context.Context) error { return d.zones.Close() })
	return []engine.Hand{d.zones}
}

// repairAfterReload brings back what firewalld may have flushed: with its backend
// iptables, that is all there is.
func (d *daemon) repairAfterReload(ctx context.Context) {
	running := d.running.Load()
	if running == nil {
		return // it resyncs when it opens
	}
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	if _, err := running.Resync(ctx); err != nil && ctx.Err() == nil {
		d.log.Warn("not everything that a reload of firewalld has removed is back", "op", "firewalld.reload", "err", err)
	}
}

// keepUserRules saves the administrator's rules from a reload that is our doing: it
// flushes all that iptables has.
func (d *daemon) keepUserRules(ctx context.Context) (after func(context.Context)) {
	s := firewallSettings(d.config)
	restore, err := hostfilter.KeepUserRules(ctx, hostfilter.Options{IPv4: !s.Off4, IPv6: !s.Off6, Logger: d.log})
	say := func(err error) {
		if err != nil {
			d.log.Warn("rules in DOCKER-USER may be lost: firewalld flushes them when it reloads", "op", "firewalld.reload", "err", err)
		}
	}
	say(err)
	return func(ctx context.Context) { say(restore(ctx)) }
}

// firewalldState tells whether firewalld runs, and when it was last seen to reload.
func (d *daemon) firewalldState() (running bool, reloaded time.Time) {
	if d.zones == nil {
		return false, time.Time{}
	}
	return d.zones.Running(), d.zones.ReloadedAt()
}
