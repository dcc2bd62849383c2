package health

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	// probeStart bounds the making of a probe's process, which does not count
	// against the check's own timeout: the machine may be busy.
	probeStart = 30 * time.Second
	// probesStarting is how many probes are started at the same time: the checks of
	// many containers come round together after the daemon has started, and each
	// costs a process of the OCI runtime. The others wait, and are not late for it.
	probesStarting = 8
	// probeEnd bounds the wait for a killed probe. A frozen one does not die.
	probeEnd = 10 * time.Second
	// probeDrain bounds the wait for the output of a probe that has ended: what it
	// left in the background may hold its streams for ever.
	probeDrain = 2 * time.Second
	// probeOutput is how much of a probe's output is kept, in bytes, as with Docker.
	probeOutput = 4096

	// exitNoProbe is the code of a probe that did not come to an end of its own.
	exitNoProbe = -1
)

// errProbeTimeout says that a probe took longer than it may.
var errProbeTimeout = errors.New("probe timed out")

// probe runs a container's health check, one time after the other.
//
// Its process has the same computed name every time, so that a daemon that was
// killed in the middle of a probe finds what it left.
type probe struct {
	k     *Checker
	c     Container
	check containerspec.Healthcheck
	id    string
	dirty bool // a process of this name may be left
}

func newProbe(k *Checker, c Container, check containerspec.Healthcheck) *probe {
	sum := sha256.Sum256([]byte("health check of " + string(c.ID())))
	return &probe{k: k, c: c, check: check, id: hex.EncodeToString(sum[:]), dirty: true}
}

// run executes the check once. It returns when the process has ended, by itself
// or because its time is over or ctx has ended.
func (p *probe) run(ctx context.Context) container.HealthcheckResult {
	result := container.HealthcheckResult{Start: time.Now()}
	var out excerpt
	code, err := p.execute(ctx, &out)
	result.ExitCode, result.Output, result.End = code, out.String(), time.Now()
	switch {
	case err == nil:
	case errors.Is(err, errProbeTimeout):
		text := fmt.Sprintf("Health check exceeded timeout (%v)", p.check.Timeout)
		if result.Output != "" {
			text += ": " + result.Output
		}
		result.ExitCode, result.Output = exitNoProbe, text
	default:
		var reason excerpt
		io.WriteString(&reason, err.Error()) //nolint:errcheck // an excerpt takes everything
		result.ExitCode, result.Output = exitNoProbe, reason.String()
	}
	return result
}

// execute makes the process, lets it run, and takes it away.
func (p *probe) execute(ctx context.Context, out *excerpt) (code int, err error) {
	if len(p.check.Command) == 0 {
		return 0, model.Errorf(model.Invalid, "No exec command specified")
	}
	if p.dirty {
		p.clear()
	}
	p.dirty = true
	defer p.clear()
	waiting, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	exits, streams, err := p.start(ctx, waiting)
	if streams != nil {
		defer out.take(streams)()
	}
	if err != nil {
		return 0, err
	}
	p.say(events.ActionExecStart)
	code, err = p.await(ctx, exits)
	p.say(events.ActionExecDie, "exitCode", strconv.Itoa(code))
	return code, err
}

// start lets a process run. Its end is told as long as waiting lasts; the streams,
// if there are any, belong to the caller, after an error too.
func (p *probe) start(ctx, waiting context.Context) (<-chan model.Exit, *model.Streams, error) {
	select {
	case p.k.starting <- struct{}{}:
		defer func() { <-p.k.starting }()
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	p.say(events.ActionExecCreate)
	// A start that was begun is completed: half of one could not be taken back.
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeStart)
	defer cancel()
	streams, err := p.k.o.Runtime.Exec(starting, p.c.ID(), p.id, model.Process{Args: p.check.Command})
	if err != nil {
		return nil, nil, p.slow(starting, err)
	}
	exits, err := p.k.o.Runtime.WaitExec(waiting, p.c.ID(), p.id)
	if err == nil {
		_, err = p.k.o.Runtime.StartExec(starting, p.c.ID(), p.id)
	}
	return exits, streams, p.slow(starting, err)
}

// await waits for the end of the process, and kills it when its time is over.
func (p *probe) await(ctx context.Context, exits <-chan model.Exit) (code int, err error) {
	timer := time.NewTimer(p.check.Timeout)
	defer timer.Stop()
	select {
	case exit, ok := <-exits:
		if !ok {
			return 0, model.Errorf(model.Unavailable, "the end of the health check was not seen")
		}
		return exit.Code, nil
	case <-timer.C:
		err = errProbeTimeout
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.kill()
	timer.Reset(probeEnd)
	select {
	case exit := <-exits:
		return exit.Code, err
	case <-timer.C:
		return exitNoProbe, err
	}
}

// slow puts Docker's words for a start that took too long in the place of what
// the runtime says then.
func (p *probe) slow(starting context.Context, err error) error {
	if err != nil && starting.Err() != nil {
		return model.Errorf(model.Unavailable, "timed out starting health check for container %s: %w", p.c.ID(), err)
	}
	return err
}

func (p *probe) kill() {
	ctx, cancel := context.WithTimeout(context.Background(), probeEnd)
	defer cancel()
	if err := p.k.o.Runtime.KillExec(ctx, p.c.ID(), p.id, syscall.SIGKILL); err != nil && model.KindOf(err) != model.NotFound {
		p.k.o.Log.Debug("kill a health check", "container", model.Short(p.c.ID()), "op", "health.probe", "err", err)
	}
}

// clear takes away what is left of a process of the probe's name. What cannot be
// taken away now is tried again before the next probe.
func (p *probe) clear() {
	if !p.dirty {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeEnd)
	defer cancel()
	_, err := p.k.o.Runtime.DeleteExec(ctx, p.c.ID(), p.id)
	if err != nil && model.KindOf(err) != model.NotFound { // it runs
		exits, unseen := p.k.o.Runtime.WaitExec(ctx, p.c.ID(), p.id)
		p.kill()
		if unseen == nil {
			<-exits // closed with ctx
		}
		_, err = p.k.o.Runtime.DeleteExec(ctx, p.c.ID(), p.id)
	}
	p.dirty = err != nil && model.KindOf(err) != model.NotFound
}

// say publishes what happens to the probe's process, as of any exec.
func (p *probe) say(action events.Action, pairs ...string) {
	if action != events.ActionExecDie {
		action += events.Action(": " + strings.Join(p.check.Command, " "))
	}
	p.c.Say(action, append(pairs, "execID", p.id)...)
}

// excerpt keeps the beginning of what is written to it and lets the rest go. The
// zero value is ready; it may be written to from several goroutines.
type excerpt struct {
	mu   sync.Mutex
	text []byte
	cut  bool
}

// Write implements io.Writer; it never fails.
func (e *excerpt) Write(data []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	keep := min(probeOutput-len(e.text), len(data))
	e.text = append(e.text, data[:keep]...)
	e.cut = e.cut || keep < len(data)
	return len(data), nil
}

// String returns what was kept, and "..." if that is not all.
func (e *excerpt) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cut {
		return string(e.text) + "..."
	}
	return string(e.text)
}

// take reads the output of a process. The function that it returns waits for the
// end of that, within limits, and closes the streams.
func (e *excerpt) take(s *model.Streams) (drained func()) {
	var readers sync.WaitGroup
	for _, from := range []io.ReadCloser{s.Stdout, s.Stderr} {
		if from != nil {
			readers.Go(func() { io.Copy(e, from) }) //nolint:errcheck // the end of output, however it comes
		}
	}
	return func() {
		done := make(chan struct{})
		go func() { readers.Wait(); close(done) }()
		timer := time.NewTimer(probeDrain)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
		}
		for _, c := range []io.Closer{s.Stdout, s.Stderr} {
			if c != nil {
				c.Close() //nolint:errcheck // nothing was written
			}
		}
		<-done
	}
}
