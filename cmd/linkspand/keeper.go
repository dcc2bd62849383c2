package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/keeper"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/workload"
)

// repairTime bounds the resync after the keeper was started anew.
const repairTime = 30 * time.Second

// openKeeper starts or adopts the keeper.
func (d *daemon) openKeeper(ctx context.Context) error {
	program, err := keeper.Find()
	if err != nil {
		return err
	}
	d.keeper, err = keeper.Start(ctx, keeper.Options{
		Program: program, Socket: filepath.Join(d.config.ExecRoot, "keeper.sock"),
		Log: filepath.Join(d.config.DataRoot, "keeper", "keeper.log"), LogLevel: strings.ToLower(levelOf(d.config, d.config.Settings).String()),
		Logger: d.log, Lost: d.repairKeeper,
	})
	if err != nil {
		return fmt.Errorf("start the keeper: %w", err)
	}
	d.later(d.keeper.Close)
	return nil
}

// repairKeeper gives a keeper that was started anew all rows.
func (d *daemon) repairKeeper() {
	e := d.running.Load()
	if e == nil {
		return // it is not open yet: opening resyncs
	}
	ctx, cancel := context.WithTimeout(context.Background(), repairTime)
	defer cancel()
	if _, err := e.Resync(ctx); err != nil {
		d.log.Warn("the new keeper does not serve everything", "op", "keeper.repair", "err", err)
	}
}

// outputs is the keeper's outputs as the manager sees them.
type outputs struct{ *keeper.Outputs }

// Follow implements workload.Outputs.
func (o outputs) Follow(ctx context.Context, id model.ContainerID, stdout, stderr bool) (workload.OutputReader, error) {
	r, err := o.Outputs.Follow(ctx, id, stdout, stderr)
	if err != nil {
		return nil, err
	}
	return r, nil
}
