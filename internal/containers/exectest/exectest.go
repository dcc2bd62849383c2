// Package exectest is a runtime for tests of execs and probes: its processes do what a
// script says.
package exectest

import (
	"context"
	"io"
	"sync"
	"syscall"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
)

// Script is what a process does: it writes, and ends with a code unless it hangs.
type Script struct {
	Output string
	Code   int
	Hangs  bool
}

// process is one exec of the fake.
type process struct {
	out     *io.PipeWriter
	running bool
	ended   chan struct{} // closed at its end
	code    int
}

// Runtime implements what execs and probes need of a runtime. The zero value is ready.
type Runtime struct {
	mu     sync.Mutex
	script Script
	fail   error // the next start's answer
	execs  map[string]*process
}

// Play makes processes that start from now on do what s says.
func (r *Runtime) Play(s Script) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script = s
}

// FailStart makes the next start fail.
func (r *Runtime) FailStart(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// Ended returns what is closed at the end of an exec that was made.
func (r *Runtime) Ended(exec string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.execs[exec].ended
}

// Exec prepares a process.
func (r *Runtime) Exec(_ context.Context, _ model.ContainerID, exec string, _ model.Process) (*model.Streams, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.execs == nil {
		r.execs = map[string]*process{}
	}
	in, out := io.Pipe()
	r.execs[exec] = &process{out: out, ended: make(chan struct{})}
	return &model.Streams{Stdout: in}, nil
}

// StartExec lets a prepared process run.
func (r *Runtime) StartExec(_ context.Context, _ model.ContainerID, exec string) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.execs[exec]
	if err := r.fail; err != nil {
		r.fail = nil
		p.finish(127)
		return 0, err
	}
	p.running = true
	go func(s Script) {
		io.WriteString(p.out, s.Output) //nolint:errcheck // its reader may have gone
		if !s.Hangs {
			r.mu.Lock()
			defer r.mu.Unlock()
			p.finish(s.Code)
		}
	}(r.script)
	return 1000, nil
}

// finish ends a process. The caller has the lock.
func (p *process) finish(code int) {
	select {
	case <-p.ended:
		return
	default:
	}
	p.running, p.code = false, code
	p.out.Close() //nolint:errcheck // never fails
	close(p.ended)
}

// WaitExec tells the end of a process.
func (r *Runtime) WaitExec(ctx context.Context, _ model.ContainerID, exec string) (<-chan model.Exit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.execs[exec]
	tell := make(chan model.Exit, 1)
	go func() {
		defer close(tell)
		select {
		case <-p.ended:
			tell <- model.Exit{Code: p.code}
		case <-ctx.Done():
		}
	}()
	return tell, nil
}

// DeleteExec forgets a process that has ended.
func (r *Runtime) DeleteExec(_ context.Context, _ model.ContainerID, exec string) (model.Exit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.execs[exec]
	switch {
	case p == nil:
		return model.Exit{}, gone(exec)
	case p.running:
		return model.Exit{}, model.Errorf(model.Conflict, "process must be stopped before deletion")
	}
	delete(r.execs, exec)
	return model.Exit{Code: p.code}, nil
}

// ResizeExec does nothing.
func (r *Runtime) ResizeExec(context.Context, model.ContainerID, string, uint, uint) error {
	return nil
}

// KillExec ends a process.
func (r *Runtime) KillExec(_ context.Context, _ model.ContainerID, exec string, sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.execs[exec]
	if p == nil || !p.running {
		return gone(exec)
	}
	p.finish(128 + int(sig))
	return nil
}

func gone(exec string) error { return model.Errorf(model.NotFound, "no exec %s", exec) }

// Container is a container that runs.
type Container string

// ID returns its ID.
func (c Container) ID() model.ContainerID { return model.ContainerID(c) }

// Ready refuses nothing.
func (Container) Ready() error { return nil }

// Gone is false.
func (Container) Gone() bool { return false }

// OrEnded returns err.
func (Container) OrEnded(err error) error { return err }

// Say tells nobody.
func (Container) Say(events.Action, ...string) {}
