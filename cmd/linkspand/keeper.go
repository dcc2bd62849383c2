package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/keeper"
	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	// repairTime bounds a resync after the keeper was started anew.
	repairTime = 30 * time.Second
	// repairTries is how often that is tried, after longer and longer pauses: what the
	// keeper lacks, descriptors for one, may come back.
	repairTries = 10
	repairPause = time.Second
	repairLast  = time.Minute
)

// openKeeper starts or adopts the keeper.
func (d *daemon) openKeeper(ctx context.Context) error {
	program, err := keeper.Find()
	if err != nil {
		return err
	}
	d.keeper, err = keeper.Start(ctx, keeper.Options{
		Program: program, Socket: filepath.Join(d.config.ExecRoot, "keeper.sock"),
		Log: filepath.Join(d.config.DataRoot, "keeper", "keeper.log"), LogLevel: strings.ToLower(levelOf(d.config, d.config.Settings).String()),
		Logger: d.log, Lost: d.repairKeeper, Firewall: d.guarded(),
	})
	if err != nil {
		return fmt.Errorf("start the keeper: %w", err)
	}
	d.later(d.keeper.Close)
	return nil
}

// guarded is the firewall that the keeper restores while there is no daemon: none, where
// both families are off.
func (d *daemon) guarded() *wire.Firewall {
	s := firewallSettings(d.config)
	return &wire.Firewall{Instance: d.store.Instance()[:instanceLen], Backend: d.config.Backend, Off4: s.Off4, Off6: s.Off6}
}

// repairKeeper gives a keeper that was started anew all rows.
func (d *daemon) repairKeeper() {
	for pause, tries := repairPause, 1; ; pause, tries = min(2*pause, repairLast), tries+1 {
		e := d.running.Load()
		if e == nil {
			return // it is not open yet, and opening resyncs; or not any more
		}
		ctx, cancel := context.WithTimeout(context.Background(), repairTime)
		_, err := e.Resync(ctx)
		cancel()
		if err == nil {
			return
		}
		d.log.Warn("the new keeper does not serve everything", "op", "keeper.repair", "try", tries, "err", err)
		if tries == repairTries {
			return
		}
		time.Sleep(pause)
	}
}

// outputs is the keeper's outputs as the manager sees them.
type outputs struct{ *keeper.Outputs }

// Follow implements containers.Outputs.
func (o outputs) Follow(ctx context.Context, id model.ContainerID, stdout, stderr bool) (containers.OutputReader, error) {
	r, err := o.Outputs.Follow(ctx, id, stdout, stderr)
	if err != nil {
		return nil, err
	}
	return r, nil
}
