package main

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func TestSignals(t *testing.T) {
	for _, c := range []struct {
		name    string
		signals []syscall.Signal
		machine bool
	}{
		{"terminate", []syscall.Signal{syscall.SIGTERM}, false},
		{"interrupt", []syscall.Signal{syscall.SIGINT}, false},
		{"power", []syscall.Signal{syscall.SIGPWR, syscall.SIGTERM}, true},
		{"nothing that ends", []syscall.Signal{syscall.SIGHUP, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGTERM}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			heard := newTold()
			ctx, stop := heard.listen()
			defer stop()
			for _, s := range c.signals {
				if ctx.Err() != nil {
					t.Errorf("it ended before %s", s)
				}
				if err := syscall.Kill(os.Getpid(), s); err != nil {
					t.Fatal(err)
				}
				switch s {
				case syscall.SIGPWR:
					await(t, heard.machineEnds.Load)
				case syscall.SIGHUP:
					await(t, func() bool { return len(heard.reload) == 1 })
				case syscall.SIGUSR1:
					await(t, func() bool { return len(heard.dump) == 1 })
				}
			}
			await(t, func() bool { return ctx.Err() != nil })
			if got := heard.machineEnds.Load(); got != c.machine {
				t.Errorf("the machine ends: %t, want %t", got, c.machine)
			}
		})
	}
}

// await polls what a signal brings about.
func await(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the signal had no effect")
		}
	}
}
