package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// told is what signals, and the private socket, have told the daemon.
type told struct {
	// machineEnds says that the whole machine goes down. Containers outlive the
	// daemon but not the machine: an init system that knows nothing of them would
	// send SIGTERM to all their processes at once, whatever signal they end by, and
	// wait long for those that ignore it.
	machineEnds atomic.Bool
	// teardown says that nothing is to be left of what the daemon made of the host.
	teardown atomic.Bool
	// end has the daemon end, as SIGTERM does.
	end context.CancelFunc
	// reload is sent to when the configuration is to be read again. One that waits
	// stands for all that came meanwhile.
	reload chan os.Signal
	// dump is sent to when all goroutines are to be shown.
	dump chan os.Signal
}

func newTold() *told {
	return &told{reload: make(chan os.Signal, 1), dump: make(chan os.Signal, 1)}
}

// listen returns what ends with SIGTERM or SIGINT. SIGPWR does not end the daemon,
// because a service manager counts the time for that from its own signal on: it
// says that the machine is why the next one comes. SIGHUP and SIGUSR1 are heard
// from now on, so that none of them ends a daemon that is still starting. stop lets
// go of the signals.
func (t *told) listen() (ctx context.Context, stop func()) {
	ctx, end := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	t.end = end
	power := make(chan os.Signal, 1)
	signal.Notify(power, syscall.SIGPWR)
	signal.Notify(t.reload, syscall.SIGHUP)
	signal.Notify(t.dump, syscall.SIGUSR1)
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
		signal.Stop(t.reload)
		signal.Stop(t.dump)
		close(stopped)
		end()
	}
}

// leaveNothing has the daemon end, its containers with it, and take away what it made of the host.
func (t *told) leaveNothing() {
	t.teardown.Store(true)
	t.end()
}
