package files

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// onThread runs do on a thread that ends with it: what do makes of the thread's root and
// namespaces reaches nobody else. Goroutines that do starts run elsewhere.
func onThread(do func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// A process's first thread cannot end. While it is held, another one is taken.
			done <- <-onThread(do)
			runtime.UnlockOSThread()
			return
		}
		done <- guarded(do)
	}()
	return done
}

// guarded is do with a panic as an error: what is read was written by strangers.
func guarded(do func() error) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = model.Errorf(model.Internal, "panic over a file of a container: %v\n%s", fault, debug.Stack())
		}
	}()
	return do()
}

// ignoringInterrupts calls a system call again for as long as signals break it off.
func ignoringInterrupts(call func() error) error {
	for {
		if err := call(); err != unix.EINTR { //nolint:errorlint // a bare Errno
			return err
		}
	}
}

// at names what failed.
func at(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
