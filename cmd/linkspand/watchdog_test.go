package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestTakeWatchdog: what a service manager may have set, and that children do not see it.
func TestTakeWatchdog(t *testing.T) {
	for _, c := range []struct {
		micros, pid string
		want        time.Duration
		fails       bool
	}{
		{"", "", 0, false}, {"3000000", "", 3 * time.Second, false}, {"3000000", strconv.Itoa(os.Getpid()), 3 * time.Second, false},
		{"3000000", "1", 0, false}, // it is for another process
		{"0", "", 0, true}, {"-1", "", 0, true}, {"x", "", 0, true}, {"86400000001", "", 0, true}, {"99999999999999999999", "", 0, true},
	} {
		t.Setenv(watchdogEnv, c.micros)
		t.Setenv(watchdogPidEnv, c.pid)
		w, err := takeWatchdog()
		if w.within != c.want || (err != nil) != c.fails {
			t.Errorf("%q %q: %v, %v", c.micros, c.pid, w.within, err)
		}
		for _, name := range []string{watchdogEnv, watchdogPidEnv} {
			if _, left := os.LookupEnv(name); left {
				t.Errorf("%s is left for children", name)
			}
		}
	}
}

// TestWatchdogTells: while the engine works the manager hears of it, and not when it does not.
func TestWatchdogTells(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		watchdog{3 * time.Millisecond}.run(ctx, notifier{socket}, func(context.Context) error { return nil }, slog.New(slog.DiscardHandler))
		close(ended)
	}()
	for range 3 {
		if got := receive(t, manager); got != newsAlive {
			t.Errorf("the manager got %q", got)
		}
	}
	cancel()
	<-ended
}

// TestWatchdogIsSilent: an engine that takes no turn is not called alive, and is asked again.
func TestWatchdogIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var said strings.Builder
		asked := 0
		go watchdog{3 * time.Minute}.run(ctx, notifier{}, func(ctx context.Context) error {
			if asked++; asked == 3 {
				cancel()
			}
			<-ctx.Done()
			return errors.New("stuck")
		}, slog.New(slog.NewTextHandler(&said, nil)))
		<-ctx.Done()
		synctest.Wait()
		if n := strings.Count(said.String(), "err=stuck"); n != 2 {
			t.Errorf("it was said %d times:\n%s", n, said.String())
		}
	})
}
