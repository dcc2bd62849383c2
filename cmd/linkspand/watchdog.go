package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/linkspan/linkspan/internal/engine"
	"github.com/linkspan/linkspan/internal/ops"
)

const (
	// watchdogEnv is within how many microseconds a service manager wants to hear of the daemon, again and again, and
	// watchdogPidEnv of which process (sd_watchdog_enabled(3)).
	watchdogEnv    = "WATCHDOG_USEC"
	watchdogPidEnv = "WATCHDOG_PID"
	// newsAlive says that the daemon does its work.
	newsAlive = "WATCHDOG=1"
	// watchdogShare is how often in that time the daemon is looked at: one that is slow once is not killed.
	watchdogShare = 3
)

// watchdog tells the service manager that the daemon is alive. One that is silent is killed by it (SIGABRT, which has
// the daemon write down what all its goroutines are at) and started anew; containers go on meanwhile.
type watchdog struct {
	within time.Duration // 0: nobody waits
}

// takeWatchdog returns the watchdog of this process. The variables are taken out of the environment: they are not meant
// for programs that the daemon starts.
func takeWatchdog() (watchdog, error) {
	micros, pid := os.Getenv(watchdogEnv), os.Getenv(watchdogPidEnv)
	if err := errors.Join(os.Unsetenv(watchdogEnv), os.Unsetenv(watchdogPidEnv)); err != nil {
		return watchdog{}, err
	}
	if micros == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return watchdog{}, nil
	}
	n, err := strconv.ParseInt(micros, 10, 64)
	if err != nil || n <= 0 || n > int64(24*time.Hour/time.Microsecond) {
		return watchdog{}, fmt.Errorf("%s=%q: want a number of microseconds, at most those of a day", watchdogEnv, micros)
	}
	return watchdog{time.Duration(n) * time.Microsecond}, nil
}

// run looks at the daemon and tells of it until ctx ends.
func (w watchdog) run(ctx context.Context, n notifier, alive func(context.Context) error, log *slog.Logger) {
	if w.within == 0 {
		return
	}
	pause := w.within / watchdogShare
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		limited, cancel := context.WithTimeout(ctx, pause)
		err := alive(limited)
		cancel()
		if err == nil {
			err = n.tell(newsAlive)
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("the service manager's watchdog was not told that the daemon is alive", "op", "daemon.watchdog", "within", w.within, "err", err)
		}
		next.Reset(pause)
	}
}

// stillEnding goes for alive while the daemon ends: its engine takes no turns any more, and how long that may take is
// bounded by itself.
func stillEnding(context.Context) error { return nil }

// errNothing is what an op fails with that changes nothing.
var errNothing = errors.New("nothing is wanted")

// alive returns what fails if the engine's writer takes no turn: a daemon that only answers from what it knows is none.
func alive(e *engine.Engine) func(context.Context) error {
	return func(ctx context.Context) error {
		if _, err := e.Do(ctx, func(ops.Tx) error { return errNothing }); !errors.Is(err, errNothing) {
			return fmt.Errorf("the engine takes no turn: %w", err)
		}
		return nil
	}
}
