package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// told is what signals have told the daemon.
type told struct {
	// machineEnds says that the whole machine goes down. Containers outlive the
	// daemon but not the machine: an init system that knows nothing of them would
	// send SIGTERM to all their processes at once, whatever signal they end by, and
	// wait long for those that ignore it.
	machineEnds atomic.Bool
}

// listen returns what ends with SIGTERM or SIGINT. SIGPWR does not end the daemon,
// because a service manager counts the time for that from its own signal on: it
// says that the machine is why the next one comes. stop lets go of the signals.
func (t *told) listen() (ctx context.Context, stop func()) {
	ctx, end := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	power := make(chan os.Signal, 1)
	signal.Notify(power, syscall.SIGPWR)
	stopped := make(chan struct{})
	go func() {
		select {
		case <-power:
			t.machineEnds.Store(true)
		case <-stopped:
		}
	}()
	return ctx, func() {
		signal.Stop(power)
		close(stopped)
		end()
	}
}
