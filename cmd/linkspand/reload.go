package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/events"
)

// reloader reads the configuration again when the daemon is told to (SIGHUP), and
// shows what it is at (SIGUSR1).
type reloader struct {
	daemon *daemon
	args   []string // that the daemon was started with
	level  *slog.LevelVar
}

// run answers signals until ctx ends.
func (r reloader) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.daemon.told.reload:
			r.reload()
		case <-r.daemon.told.dump:
			r.dump()
		}
	}
}

// reload takes over what the configuration says now, all of it or, where
// something is wrong with it, nothing.
func (r reloader) reload() {
	d := r.daemon
	d.tell(newsReloading)
	defer d.tell(newsReady)
	now := d.settings.Load()
	next, err := d.config.Reload(r.args, *now)
	if err != nil {
		d.log.Error("Error reloading configuration: nothing has changed", "op", "daemon.reload", "file", d.config.ConfigFile, "err", err)
		return
	}
	if err := errors.Join(writeWrappers(next.Settings.Runtimes), renewCertificates(d.certificates)); err != nil {
		d.log.Error("Error reloading configuration: nothing has changed", "op", "daemon.reload", "err", err)
		return
	}
	d.settings.Store(&next.Settings)
	r.level.Set(levelOf(d.config, next.Settings))
	words := []any{"op", "daemon.reload", "file", d.config.ConfigFile, "changed", strings.Join(next.Changed, " ")}
	if len(next.Waiting) > 0 {
		words = append(words, "after_restart", strings.Join(next.Waiting, " "))
	}
	d.log.Info("Reloaded configuration", words...)
	attributes := next.Settings.Attributes()
	maps.Copy(attributes, fixedAttributes)
	if name, err := os.Hostname(); err == nil {
		attributes["name"] = name
	}
	d.events.Publish(events.Reloaded(d.store.Instance(), attributes))
}

// fixedAttributes are those of dockerd's event that are always the same here.
var fixedAttributes = map[string]string{"default-ipc-mode": "private"}

// maxDump bounds a dump of goroutines, in bytes.
const maxDump = 64 << 20

// dump writes what all goroutines are doing into a file, as dockerd does.
func (r reloader) dump() {
	d := r.daemon
	stacks := make([]byte, 1<<20)
	for n := runtime.Stack(stacks, true); n == len(stacks) && len(stacks) < maxDump; n = runtime.Stack(stacks, true) {
		stacks = make([]byte, 2*len(stacks))
	}
	stacks = stacks[:runtime.Stack(stacks, true)]
	path := filepath.Join(d.config.ExecRoot, fmt.Sprintf("goroutine-stacks-%s.log", time.Now().UTC().Format("2006-01-02T150405.000Z0700")))
	if err := os.WriteFile(path, stacks, 0o600); err != nil {
		d.log.Error("goroutine stacks not written", "op", "daemon.dump", "err", err)
		return
	}
	d.log.Info("goroutine stacks written to "+path, "op", "daemon.dump")
}
