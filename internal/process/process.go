package process

import (
	"errors"
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Process is a running program, our child or not.
type Process struct {
	ID   Identity
	done chan struct{}
}

// Start starts a command in a session of its own (setsid(2)), so that a signal to our
// terminal or process group does not reach it, and reaps it when it has ended.
// *EndedError if it did not live long enough to be known.
func Start(cmd *exec.Cmd) (*Process, error) {
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	id, err := Identify(cmd.Process.Pid)
	if err != nil {
		cmd.Process.Kill() //nolint:errcheck // it has most likely ended by itself
		return nil, &EndedError{errors.Join(err, cmd.Wait())}
	}
	p := &Process{ID: id, done: make(chan struct{})}
	go func() {
		cmd.Wait() //nolint:errcheck // how it ended is in its log; that it ended is all we need
		close(p.done)
	}()
	return p, nil
}

// EndedError is why nothing is known of a program that ended while it was started.
type EndedError struct{ Err error }

// Error implements error.
func (e *EndedError) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *EndedError) Unwrap() error { return e.Err }

// Follow watches a process that is not our child through a pidfd (pidfd_open(2)), which
// becomes readable when the process ends. ESRCH if it has ended already.
func Follow(id Identity) (*Process, error) {
	fd, err := unix.PidfdOpen(id.Pid, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd of %d: %w", id.Pid, err)
	}
	if !id.Alive() { // it may have gone, and its pid been used again, before the pidfd
		unix.Close(fd) //nolint:errcheck // nothing was written
		return nil, unix.ESRCH
	}
	p := &Process{ID: id, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		defer unix.Close(fd) //nolint:errcheck // nothing was written
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return p, nil
}

// Done is closed once the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal if the process still is the one we know.
func (p *Process) Signal(s unix.Signal) {
	if p.ID.Alive() {
		unix.Kill(p.ID.Pid, s) //nolint:errcheck // the only errors left are "it has just ended"
	}
}
