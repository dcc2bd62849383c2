// Package keeper starts, adopts and speaks with the keeper: the process that
// holds what must not die with the daemon (DNS servers of sandboxes, readers of
// container output).
//
// It promises that there is one keeper, of the daemon's own version, from Start
// to Close: one that an earlier daemon left is taken over, one of another version
// is replaced without a gap, and one that dies is started again at once and given
// what it held. It must not know what rows mean.
//
//	engine ──▶ Keeper.Apply ──╮
//	containers ▶ Outputs.Open ──┴─▶ session ──unix socket──▶ linkspan-keeper
package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	// callTime bounds a call. A keeper that takes longer hangs.
	callTime = 20 * time.Second
	// retryTime is the pause before a call that a hand-over refused is made again.
	retryTime = 20 * time.Millisecond
	// pulse is how often a keeper is asked whether it lives.
	pulse = 10 * time.Second

	backoffFirst = 20 * time.Millisecond
	backoffLast  = 5 * time.Second
	// steady is how long a keeper must have lived for its next death to count as
	// the first.
	steady = 30 * time.Second
)

// Options say where the keeper is.
type Options struct {
	Program  string // path of linkspan-keeper
	Socket   string
	Log      string // file that it writes its log to
	LogLevel string // as the daemon's
	Logger   *slog.Logger
	// Firewall is what it restores while there is no daemon; nothing if nil.
	Firewall *wire.Firewall
	// Lost is called, on a goroutine of its own, when a keeper had to be started
	// anew: rows must be given to it again.
	Lost func()
}

// Keeper is the daemon's side of the keeper. It is an engine.Hand for the rows
// that the keeper serves.
type Keeper struct {
	o       Options
	log     *slog.Logger
	outputs Outputs
	quit    chan struct{}
	gone    chan struct{}

	mu      sync.Mutex
	session *session
	changed chan struct{} // closed when session is replaced
}

// Start returns a keeper that answers: the one that is there, or a new one. ctx
// bounds the start.
func Start(ctx context.Context, o Options) (*Keeper, error) {
	k := &Keeper{o: o, log: o.Logger, quit: make(chan struct{}), gone: make(chan struct{}), changed: make(chan struct{})}
	k.outputs = Outputs{keeper: k, open: map[model.ContainerID]*opened{}, readers: map[*reader]bool{}}
	s, err := k.find(ctx)
	if err != nil {
		return nil, err
	}
	k.set(s)
	go k.supervise()
	return k, nil
}

// Outputs returns the keeper's readers of container output.
func (k *Keeper) Outputs() *Outputs { return &k.outputs }

// Close leaves the keeper running, unless it has nothing to keep.
func (k *Keeper) Close(ctx context.Context) error {
	close(k.quit)
	<-k.gone
	s := k.current()
	if s.isGone() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	err := s.call(ctx, wire.VerbBye, nil, nil)
	if errors.Is(err, errGone) { // it was as quick as that
		err = nil
	}
	err = errors.Join(err, s.close())
	removeCgroup()
	return err
}

// find returns a keeper of our version: the one that is there, one that takes
// over from it, or a new one.
func (k *Keeper) find(ctx context.Context) (*session, error) {
	own, err := Identify(k.o.Program)
	if err != nil {
		return nil, fmt.Errorf("the keeper's program: %w", err)
	}
	hello, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	old, err := dial(hello, k.o.Socket)
	switch {
	case err != nil && hello.Err() == nil: // nobody listens
		return k.launchBlank(ctx)
	case err != nil:
		return nil, fmt.Errorf("a process listens on %s and does not answer: %w", k.o.Socket, err)
	case old.hello.Program == own && old.hello.Version == wire.Version:
		k.log.Info(fmt.Sprintf("adopted the keeper that runs as process %d", old.hello.Pid), "op", "keeper.adopt")
		return old, nil
	}
	return k.replace(ctx, old)
}

// replace lets a new keeper take over from an old one. If that fails the old one
// is ended, and its rows are given to the new one as after a crash.
func (k *Keeper) replace(ctx context.Context, old *session) (*session, error) {
	k.log.Info(fmt.Sprintf("replacing the keeper of release %s, process %d", old.hello.Release, old.hello.Pid), "op", "keeper.replace")
	s, err := k.launch(ctx, true)
	old.close() //nolint:errcheck // it has gone, or is about to be ended
	if err == nil {
		return s, nil
	}
	k.log.Error("the keeper was not taken over, ending it", "op", "keeper.replace", "err", err)
	if err := syscall.Kill(old.hello.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return nil, fmt.Errorf("end the old keeper: %w", err)
	}
	return k.launchBlank(ctx)
}

// launchBlank starts a keeper that holds nothing.
func (k *Keeper) launchBlank(ctx context.Context) (*session, error) {
	s, err := k.launch(ctx, false)
	if err == nil {
		s.setBlank(true)
	}
	return s, err
}

func (k *Keeper) current() *session {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.session
}

func (k *Keeper) set(s *session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.session = s
	close(k.changed)
	k.changed = make(chan struct{})
}

// reach returns a session that is alive, waiting for one if the keeper has just
// died.
func (k *Keeper) reach(ctx context.Context) (*session, error) {
	for {
		k.mu.Lock()
		s, changed := k.session, k.changed
		k.mu.Unlock()
		if !s.isGone() {
			return s, nil
		}
		select {
		case <-changed:
		case <-k.quit:
			return nil, errGone
		case <-ctx.Done():
			return nil, model.Errorf(model.Unavailable, "the keeper is not there: %w", context.Cause(ctx))
		}
	}
}

// reachInTime is reach within callTime.
func (k *Keeper) reachInTime(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return k.reach(ctx)
}

// ask makes a call, again with the next keeper if one goes or is being replaced,
// and returns the session that answered. ctx bounds it.
func (k *Keeper) ask(ctx context.Context, verb wire.Verb, body, answer any) (*session, error) {
	return k.try(ctx, func(s *session) error { return s.call(ctx, verb, body, answer) })
}

// try is ask for what takes several calls with one keeper.
func (k *Keeper) try(ctx context.Context, f func(*session) error) (*session, error) {
	for {
		s, err := k.reach(ctx)
		if err != nil {
			return nil, err
		}
		err = f(s)
		if model.KindOf(err) != model.Unavailable || ctx.Err() != nil {
			return s, err
		}
		select {
		case <-time.After(retryTime):
		case <-ctx.Done():
			return s, err
		}
	}
}

// askInTime is ask of a keeper that answers within callTime.
func (k *Keeper) askInTime(ctx context.Context, verb wire.Verb, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := k.ask(ctx, verb, body, answer)
	return err
}

// supervise starts a keeper again whenever it dies or hangs.
func (k *Keeper) supervise() {
	defer close(k.gone)
	wait := backoffFirst
	for {
		born := time.Now()
		s := k.current()
		if !k.watch(s) {
			return
		}
		if time.Since(born) > steady {
			wait = backoffFirst
		}
		k.log.Warn(fmt.Sprintf("the keeper (process %d) died, starting it again", s.hello.Pid), "op", "keeper.restart")
		for !k.restart() {
			select {
			case <-k.quit:
				return
			case <-time.After(wait):
			}
			wait = min(2*wait, backoffLast)
		}
	}
}

// watch returns true once the keeper has gone, ending one that does not answer;
// false if the daemon ends first.
func (k *Keeper) watch(s *session) bool {
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for {
		select {
		case <-k.quit:
			return false
		case <-s.gone:
			return true
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		err := s.call(ctx, wire.VerbHello, nil, nil)
		cancel()
		if err != nil && !s.isGone() {
			k.log.Error("the keeper hangs, ending it", "op", "keeper.pulse", "err", err)
			if err := syscall.Kill(s.hello.Pid, syscall.SIGKILL); err != nil {
				k.log.Error("the keeper cannot be ended", "op", "keeper.pulse", "err", err)
			}
		}
	}
}

// restart brings up a keeper in place of one that died, and gives it what it
// needs; false if that did not work yet.
func (k *Keeper) restart() bool {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	s, err := k.find(ctx)
	if err == nil {
		err = k.outputs.restore(ctx, s)
	}
	if err != nil {
		k.log.Error("no keeper", "op", "keeper.restart", "err", err)
		return false
	}
	k.set(s)
	if k.o.Lost != nil {
		go k.o.Lost()
	}
	return true
}
