package containers

import (
	"context"
	"io"
	"syscall"

	"github.com/linkspan/linkspan/internal/model"
)

// scripted is what an exec of the fake runtime does: it writes, and ends unless
// it hangs.
type scripted struct {
	output string
	code   int
	hangs  bool
}

func (r *fakeRuntime) play(p *fakeProcess, s scripted) {
	io.WriteString(p.out, s.output) //nolint:errcheck // its reader may have gone
	if !s.hangs {
		r.finish(p, s.code)
	}
}

// setScript changes what execs do from now on.
func (r *fakeRuntime) setScript(s scripted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script = func(model.Process) scripted { return s }
}

func (r *fakeRuntime) KillExec(_ context.Context, _ model.ContainerID, exec string, sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.execs[exec]
	if p == nil || p.state == model.TaskStopped {
		return errGone
	}
	p.signals = append(p.signals, sig)
	p.finish(128 + int(sig))
	return nil
}

// running counts the execs that run.
func (r *fakeRuntime) running() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, p := range r.execs {
		if p.state == model.TaskRunning {
			n++
		}
	}
	return n
}
