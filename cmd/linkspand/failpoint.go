package main

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// failpointEnv names a stage of the engine's turn or of the kernel's (engine and
// kernel have a list of theirs at Options.Reached), and which time it is reached:
// "commit:3". The process then ends as by kill -9, which is how the tests look
// at what a crash there leaves. With a file, "commit:1@/path", stages count only while
// that is there: a test can wait for the right moment.
const failpointEnv = "LINKSPAND_FAILPOINT"

// failpoint returns what engine and kernel call at each stage; nil if no failpoint is
// set.
func failpoint() func(stage string) {
	want, count, ok := strings.Cut(os.Getenv(failpointEnv), ":")
	count, file, armed := strings.Cut(count, "@")
	nth, err := strconv.ParseInt(count, 10, 64)
	if !ok || err != nil {
		return nil
	}
	var reached atomic.Int64
	return func(stage string) {
		if stage != want {
			return
		}
		if _, err := os.Stat(file); armed && err != nil {
			return
		}
		if reached.Add(1) == nth {
			syscall.Kill(os.Getpid(), syscall.SIGKILL) //nolint:errcheck // it cannot fail on oneself
			select {}                                  // until the signal arrives
		}
	}
}
