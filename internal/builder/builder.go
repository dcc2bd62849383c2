// Package builder starts linkspan-buildkitd, the program that builds images, when somebody
// asks for it, hands requests on to it, and ends it when nobody has asked for a while.
//
//	door ─▶ Forward, Prune, Usage ─▶ running? else start ─▶ socket ─▶ linkspan-buildkitd
//	Made ◀── images that were made ◀─────────────────────────────────────╯
//
// It promises that the program does not outlive the daemon, nor an answer the program, and
// that what a program that died has left is cleared away by the next. It must not know what
// a Dockerfile is.
package builder

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	// idleTime is how long the program stays after the last request.
	idleTime = 5 * time.Minute
	// maxRequests bounds the requests that are handed on at a time. A build has three.
	maxRequests = 512

	backoffFirst = time.Second
	backoffLast  = time.Minute
)

// Options are what a Builder is made of. Idle may be zero; all else is needed.
type Options struct {
	// Launch starts a program that answers on Config's socket.
	Launch func(ctx context.Context, c wire.Config) (Process, error)
	// Config is what a program that starts now is told.
	Config func() wire.Config
	// Built tells whether a program has ever built, and so may have a cache.
	Built func() bool
	// Made is told of every image that is made.
	Made   func(wire.Image)
	Idle   time.Duration // instead of five minutes
	Logger *slog.Logger
}

// Process is a program that runs.
type Process interface {
	// Done is closed once it has ended.
	Done() <-chan struct{}
	// Stop ends it, by force once ctx is done.
	Stop(ctx context.Context)
}

// Builder is the program, whether it runs or not. Its methods may be called from any
// goroutine.
type Builder struct {
	o      Options
	places chan struct{}
	// turn has one token, which is held while a program is started or ended.
	turn chan struct{}

	mu     sync.Mutex // guards the fields below
	closed bool
	now    *running
	idle   *time.Timer
	deaths int // in a row, each soon after a start
	work   sync.WaitGroup
	end    context.CancelFunc
	life   context.Context
}

// running is one run of the program.
type running struct {
	process Process
	began   time.Time
	config  wire.Config
	users   int
	ending  bool
}

// New returns a builder. Nothing is started.
func New(o Options) *Builder {
	if o.Idle == 0 {
		o.Idle = idleTime
	}
	b := &Builder{o: o, places: make(chan struct{}, maxRequests), turn: make(chan struct{}, 1)}
	b.life, b.end = context.WithCancel(context.Background())
	b.idle = time.AfterFunc(o.Idle, b.rest)
	b.idle.Stop()
	return b
}

// Close ends the program, by force once ctx is done.
func (b *Builder) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	b.idle.Stop()
	r := b.now
	b.mu.Unlock()
	b.end()
	if r != nil {
		b.stop(ctx, r)
	}
	b.work.Wait()
	return nil
}

// use returns the socket of a program that runs until release is called.
func (b *Builder) use(ctx context.Context) (socket string, release func(), err error) {
	select {
	case b.places <- struct{}{}:
	default:
		return "", nil, model.Errorf(model.Unavailable, "%d requests for builds are being answered: wait until one of them has ended", maxRequests)
	}
	r, err := b.take(ctx)
	if err != nil {
		<-b.places
		return "", nil, err
	}
	var once sync.Once
	return r.config.Socket, func() { once.Do(func() { b.leave(r); <-b.places }) }, nil
}

// take counts one more user of the program, and starts that if it does not run.
func (b *Builder) take(ctx context.Context) (*running, error) {
	if r := b.join(); r != nil {
		return r, nil
	}
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-b.turn }()
	if r := b.join(); r != nil {
		return r, nil
	}
	b.mu.Lock()
	stale := b.now
	b.mu.Unlock()
	if stale != nil {
		b.stop(ctx, stale)
	}
	return b.start(ctx)
}

// join counts one more user of a program that runs; nil if there is none, or none that was told
// what holds by now: one that nobody uses is replaced.
func (b *Builder) join() *running {
	config := b.o.Config()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now == nil || b.now.ending || b.now.users == 0 && !reflect.DeepEqual(b.now.config, config) {
		return nil
	}
	b.now.users++
	b.idle.Stop()
	return b.now
}

// start starts a program with one user. The caller has the turn.
func (b *Builder) start(ctx context.Context) (*running, error) {
	r := &running{config: b.o.Config(), users: 1}
	var err error
	if r.process, err = b.o.Launch(ctx, r.config); err != nil {
		return nil, model.Errorf(model.Unavailable, "builds are not possible: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		go r.process.Stop(context.WithoutCancel(ctx))
		return nil, model.Errorf(model.Unavailable, "the daemon is about to end")
	}
	b.now, r.began = r, time.Now()
	b.work.Go(func() { b.watch(r) })
	b.work.Go(func() { b.listen(r) })
	return r, nil
}

// leave counts one user less. After the last the program may rest.
func (b *Builder) leave(r *running) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.users--; r.users == 0 && b.now == r && !b.closed {
		b.idle.Reset(b.o.Idle)
	}
}

// rest ends a program that nobody uses.
func (b *Builder) rest() {
	select {
	case b.turn <- struct{}{}: // who comes now waits until it is gone
		defer func() { <-b.turn }()
	case <-b.life.Done():
		return
	}
	b.mu.Lock()
	r := b.now
	if r == nil || r.users > 0 || b.closed {
		b.mu.Unlock()
		return
	}
	r.ending = true
	b.mu.Unlock()
	b.o.Logger.Info("nobody has built for a while: the builder ends", "op", "build.rest")
	b.stop(b.life, r)
}

// stop ends a run of the program.
func (b *Builder) stop(ctx context.Context, r *running) {
	b.mu.Lock()
	r.ending = true
	b.mu.Unlock()
	r.process.Stop(ctx)
}

// watch notices the end of a run. One that nobody asked for may have left steps that run on:
// the next program clears them away.
func (b *Builder) watch(r *running) {
	<-r.process.Done()
	b.mu.Lock()
	asked := r.ending || b.closed
	if b.now == r {
		b.now = nil
	}
	wait := backoffFirst
	if !asked {
		wait = b.pause(time.Since(r.began))
	}
	b.mu.Unlock()
	if asked {
		return
	}
	b.o.Logger.Warn("the builder died; another is started to clear up", "op", "build.watch")
	for ; ; wait = min(2*wait, backoffLast) {
		select {
		case <-time.After(wait):
		case <-b.life.Done():
			return
		}
		_, release, err := b.use(b.life)
		if err == nil {
			release()
			return
		}
		b.o.Logger.Error("the builder is not started", "op", "build.watch", "err", err)
	}
}

// pause returns how long after a death another program is started: longer each time for one
// that dies soon after every start. The caller holds mu.
func (b *Builder) pause(lasted time.Duration) time.Duration {
	if lasted > backoffLast {
		b.deaths = 0
	}
	wait := backoffLast
	if doubled := backoffFirst << b.deaths; doubled < backoffLast {
		wait, b.deaths = doubled, b.deaths+1
	}
	return wait
}
