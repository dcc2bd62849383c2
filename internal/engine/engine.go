// Package engine is the hub: it takes ops one after the other, makes the model
// and the kernel follow, and lets everyone read the result without a lock.
//
//	Do ─▶ queue ─▶ run ─▶ compile ─▶ commit ─▶ apply ─▶ publish ─▶ answer
//	Learn ───────────────▶ compile ──────────▶ apply ─▶ publish ─▶ answer
//
// What an op lacks is asked outside the queue (Source), and what others store is
// followed (Store.Watch).
//
// It knows order and nothing else: what a network is, drivers decide; how a
// link is made, the hands know.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/firewall"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/state"
)

// Hand makes one part of the world follow the desired state. Each takes the
// rows of the kinds it knows and ignores the others.
type Hand interface {
	// Apply makes the world follow the deltas. Twice is the same as once. What
	// could not be done comes back as joined *desired.Failure.
	Apply(ctx context.Context, deltas []desired.Delta) error
	// Resync looks at everything and repairs what differs.
	Resync(ctx context.Context, want desired.State) (desired.Report, error)
	// Check looks as Resync does and changes nothing.
	Check(ctx context.Context, want desired.State) (desired.Report, error)
}

// Observer learns facts of the host.
type Observer interface {
	Observe(ctx context.Context) (facts.Host, error)
}

// Options are what an engine is made of.
type Options struct {
	Store        Store
	Hands        []Hand // applied in this order
	Observer     Observer
	Source       Source       // nil: ops find all that they must know
	PortReserver PortReserver // nil: host ports are not reserved against other processes
	Watcher      Watcher      // nil: what others change is repaired when somebody asks
	Networks     ops.NetworkMaker
	Firewall     firewall.Settings
	Logger       *slog.Logger
	// Repaired, if set, is told what others had changed, once it is put right. It must not
	// wait, nor call the engine.
	Repaired func(Repair)
	// Reached, if set, is called when a turn reaches a stage: "claim", "commit",
	// "apply", "publish" or "answer". It serves tests that stop the process there.
	Reached func(stage string)
	// Published, if set, is called when readers may see something new. It must not wait,
	// nor call the engine.
	Published func()
	// Step, if set, is called when an op is submitted; end, which it returns, with what came of it. Both must not wait.
	Step func(ctx context.Context, name string) (_ context.Context, end func(error))
	// Compiled, if set, is told how many owners a turn compiled.
	Compiled func(owners int)
}

// Limits of the queue. Beyond queueLength callers wait for a place; a turn
// takes at most turnLength ops, so that its commit and its kernel transaction
// stay small enough to be undone.
const (
	queueLength = 1024
	turnLength  = 256
	// turnTimeout bounds the work of one turn in the kernel.
	turnTimeout = 2 * time.Minute
	// retryAfter is the pause between attempts to make a kernel follow that is
	// late.
	retryAfter = time.Second
)

// view is what readers see: the model and what it asks of the kernel, of one
// moment.
type view struct {
	snapshot *state.Snapshot
	desired  desired.State
	facts    facts.Set
}

// Engine runs ops. Its methods may be called from any goroutine.
type Engine struct {
	options Options
	now     atomic.Pointer[view] // readers load; only the turn stores
	queue   chan *request
	stop    context.CancelFunc
	done    chan struct{}
	closing sync.Once
	ports   reserver
	owed    owed
	// stored is the store's revision up to which the model has all of it; behind says
	// that somebody else has changed it since. Only the turn uses them.
	stored  uint64
	behind  bool
	commits <-chan state.Commit // what the store tells of
	asker   asker
	repairs repairs
}

// request is an op on its way, or a task to be run between turns.
type request struct {
	ctx    context.Context
	op     ops.Op
	known  []facts.Fact  // that the op asked for
	gone   []facts.Owner // of whom nothing is known any more since it ran
	task   func(context.Context) error
	answer chan answer
}

type answer struct {
	snapshot *state.Snapshot
	err      error
}

// Open loads the model, makes the world follow it and returns the running
// engine. This is the only way to start: after a crash, an upgrade or a reboot
// the same happens as on a new host.
func Open(ctx context.Context, o Options) (*Engine, error) {
	if o.Published == nil {
		o.Published = func() {}
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	e := &Engine{options: o, queue: make(chan *request, queueLength), stop: stop, done: make(chan struct{})}
	e.repairs = repairs{watcher: o.Watcher, plan: e.Plan, log: o.Logger, tell: o.Repaired}
	e.ports = reserver{o.PortReserver, o.Logger}
	e.asker = asker{source: o.Source, timeout: askTimeout, log: o.Logger, busy: map[facts.Owner]*held{}, open: map[facts.Owner]facts.Question{},
		known:   func(owner facts.Owner) facts.Fact { return e.now.Load().facts.Of(owner) },
		bounded: func() (context.Context, context.CancelFunc) { return context.WithTimeout(run, askTimeout) },
	}
	e.commits = o.Store.Watch(run) // before it is loaded, so that nothing is missed
	if err := e.begin(ctx); err != nil {
		stop()
		return nil, err
	}
	e.repairs.watch(run)
	if _, err := e.resync(ctx); err != nil {
		// A kernel that refuses something must not keep the daemon from
		// answering; what is missing is retried by the next resync.
		e.options.Logger.Error("the kernel does not follow the model", "op", "engine.open", "err", err)
	}
	go e.loop(run)
	return e, nil
}

// begin loads the model, finds out what is known and plans all of it.
func (e *Engine) begin(ctx context.Context) error {
	snapshot, err := e.options.Store.Load(ctx)
	if err != nil {
		return fmt.Errorf("load the model: %w", err)
	}
	e.stored = snapshot.Revision
	host, err := e.observe(ctx)
	if err != nil {
		return err
	}
	answers, spare := e.asker.answered(ctx, snapshot)
	first := view{snapshot: snapshot, facts: facts.Set{}.With(host).With(answers...)}
	if first.snapshot, err = e.upgraded(ctx, first); err != nil {
		return err
	}
	if first.desired, err = e.compileWith(first).Full(); err != nil {
		return fmt.Errorf("plan the model: %w", err)
	}
	e.now.Store(&first)
	e.asker.forget(spare)
	return nil
}

// Do runs an op and returns the snapshot in which it took effect, once kernel
// and names follow. If ctx ends while the op waits in the queue, or for an answer
// that it asked for, it is not run; once it runs it is finished. What it gave up is
// given back by then, unless that takes too long.
func (e *Engine) Do(ctx context.Context, op ops.Op) (_ *state.Snapshot, err error) {
	if e.options.Step != nil {
		var end func(error)
		ctx, end = e.options.Step(ctx, "engine.Do")
		defer func() { end(err) }()
	}
	asking := asking{asker: &e.asker}
	defer func() { asking.end(ctx) }()
	for {
		r := &request{ctx: ctx, op: op, known: asking.answers, answer: make(chan answer, 1)}
		s, err := e.submit(r)
		if err == nil {
			e.asker.returned(ctx, r.gone)
			return s, nil
		}
		if again, err := asking.more(ctx, err); !again {
			return nil, err
		}
	}
}

// Snapshot returns the model as it is now.
func (e *Engine) Snapshot() *state.Snapshot { return e.now.Load().snapshot }

// Plan returns what the model asks of the kernel now.
func (e *Engine) Plan() desired.State { return e.now.Load().desired }

// Facts returns what is known now.
func (e *Engine) Facts() facts.Set { return e.now.Load().facts }

// Observe looks at the host again. Ops submitted afterwards see what it found,
// and what was planned from facts that have changed is planned anew.
func (e *Engine) Observe(ctx context.Context) error {
	_, err := e.submit(&request{ctx: ctx, task: e.look, answer: make(chan answer, 1)})
	return err
}

// Resync looks at the host again and at everything in the kernel, and repairs what
// differs.
func (e *Engine) Resync(ctx context.Context) (desired.Report, error) {
	var report desired.Report
	_, err := e.submit(&request{ctx: ctx, answer: make(chan answer, 1), task: func(ctx context.Context) error {
		looked := e.look(ctx)
		var err error
		report, err = e.resync(ctx)
		return errors.Join(looked, err)
	}})
	return report, err
}

// Check looks at everything in the kernel and says what differs.
func (e *Engine) Check(ctx context.Context) (desired.Report, error) {
	var report desired.Report
	_, err := e.submit(&request{ctx: ctx, answer: make(chan answer, 1), task: func(ctx context.Context) (err error) {
		report, err = e.over(func(h Hand) (desired.Report, error) { return h.Check(ctx, e.Plan()) })
		ports, reserveErr := e.ports.reserveAll(ctx, e.Plan(), true)
		report.Drift = append(report.Drift, ports.Drift...)
		return errors.Join(err, reserveErr)
	}})
	return report, err
}

// Close ends the engine after the turn that runs. The kernel stays as it is.
func (e *Engine) Close() {
	e.closing.Do(e.stop)
	<-e.done
	if e.repairs.heard != nil {
		for range e.repairs.heard { // until nobody watches any more
		}
	}
	e.asker.close()
}

func (e *Engine) submit(r *request) (*state.Snapshot, error) {
	select {
	case e.queue <- r:
	case <-r.ctx.Done():
		return nil, r.ctx.Err()
	case <-e.done:
		return nil, closed()
	}
	select {
	case a := <-r.answer:
		return a.snapshot, a.err
	case <-e.done:
	}
	select {
	case a := <-r.answer: // of the last turn: what it did is done
		return a.snapshot, a.err
	default:
		return nil, closed()
	}
}

func closed() error { return model.Errorf(model.Unavailable, "the engine is shutting down") }

// loop is the one writer.
func (e *Engine) loop(ctx context.Context) {
	defer close(e.done)
	var retry <-chan time.Time // goes on running while requests come: they must not put it off
	var again <-chan time.Time // when what others changed is looked at that had to wait
	for {
		var first *request
		if e.owed.late() && retry == nil {
			retry = time.After(retryAfter)
		}
		select {
		case <-ctx.Done():
			return
		case <-retry:
			retry = nil
			if e.owed.late() {
				e.catchUp(ctx)
			}
			continue
		case c, open := <-e.commits:
			if !open {
				return
			}
			e.heard(ctx, c)
			continue
		case list, open := <-e.repairs.heard:
			if !open {
				e.repairs.heard = nil
			}
			e.repairs.suspect(list)
			again = e.repairs.run(ctx)
			continue
		case <-again:
			again = e.repairs.run(ctx)
			continue
		case first = <-e.queue:
		}
		batch := []*request{first}
		for first.task == nil && len(batch) < turnLength {
			select {
			case next := <-e.queue:
				batch = append(batch, next)
				if next.task == nil {
					continue
				}
			default:
			}
			break
		}
		e.serve(ctx, batch)
	}
}

// serve runs the ops of a batch as one turn, and a task that closes it after
// them.
func (e *Engine) serve(ctx context.Context, batch []*request) {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	var waiting []*request
	for _, r := range batch {
		switch {
		case r.ctx.Err() != nil:
			r.answer <- answer{nil, r.ctx.Err()}
		case r.task == nil:
			waiting = append(waiting, r)
		}
	}
	e.turn(ctx, waiting)
	e.rebase(ctx)
	if last := batch[len(batch)-1]; last.task != nil && last.ctx.Err() == nil {
		last.answer <- answer{e.Snapshot(), last.task(ctx)}
	}
}

func (e *Engine) reached(stage string) {
	if e.options.Reached != nil {
		e.options.Reached(stage)
	}
}

// compileWith returns what plan needs to compile a view.
func (e *Engine) compileWith(v view) plan.Input {
	return plan.Input{Snapshot: v.snapshot, Facts: v.facts, Drivers: e.options.Networks.Drivers, Firewall: e.options.Firewall,
		Forward: e.options.Networks.Host.Forward4}
}
