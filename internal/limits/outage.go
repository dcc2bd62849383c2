package limits

import (
	"context"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Pauses between two tries while something lasts.
const (
	pauseFirst = 5 * time.Millisecond
	pauseLast  = 500 * time.Millisecond
	// sayAgain is how long a lack that comes and goes is not complained of again.
	sayAgain = time.Minute
)

// Outage is a time in which something fails that will work again. The zero value,
// with a Logger, is ready. Its methods may be called from several goroutines.
type Outage struct {
	Logger *slog.Logger // nil: it is not told
	Op     string       // of the log lines
	What   string       // what waits, for people: "the DNS listener"

	lasts atomic.Bool

	mu    sync.Mutex
	begun time.Time
	told  bool
	said  time.Time // when an outage was last told, or the end of one
	pause time.Duration
}

// Note takes down a failure and returns how long to wait before the next try.
// The first one of an outage is logged.
func (o *Outage) Note(err error) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.lasts.Load() {
		o.lasts.Store(true)
		o.begun, o.pause = time.Now(), pauseFirst
		o.told = o.Logger != nil && (o.said.IsZero() || time.Since(o.said) >= sayAgain)
		if o.told {
			o.said = o.begun
			o.Logger.Warn(o.What+" has to wait", "op", o.Op, "err", err)
		}
		return o.pause
	}
	o.pause = min(2*o.pause, pauseLast)
	return o.pause
}

// Wait is Note, and waits. It returns false, at once, when done is closed.
func (o *Outage) Wait(done <-chan struct{}, err error) bool {
	timer := time.NewTimer(o.Note(err))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-done:
		return false
	}
}

// Over says that it works. That costs nothing while it always has.
func (o *Outage) Over() {
	if !o.lasts.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lasts.Swap(false) && o.told {
		o.said = time.Now()
		o.Logger.Info(o.What+" goes on", "op", o.Op, "after", time.Since(o.begun).Round(time.Millisecond))
	}
}

// Lasts tells whether there is an outage.
func (o *Outage) Lasts() bool { return o.lasts.Load() }

// retryTime is how long Retry waits for what is scarce.
const retryTime = 5 * time.Second

// Retry calls f until its error is none that Scarce names, for 5 s at most or until
// ctx ends, and returns the last error.
func Retry(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, retryTime)
	defer cancel()
	var o Outage
	for {
		err := f()
		if err == nil || !Scarce(err) || !o.Wait(ctx.Done(), err) {
			return err
		}
	}
}

// Patient returns a listener whose Accept waits out what passes (Passing): it fails
// only if the listener itself does, or is closed.
func Patient(l net.Listener, o *Outage) net.Listener {
	return &patient{Listener: l, outage: o, closed: make(chan struct{})}
}

type patient struct {
	net.Listener
	outage *Outage
	once   sync.Once
	closed chan struct{}
}

func (p *patient) Accept() (net.Conn, error) {
	for {
		c, err := p.Listener.Accept()
		if err == nil {
			p.outage.Over()
			return c, nil
		}
		if !Passing(err) {
			return nil, err
		}
		if !p.outage.Wait(p.closed, err) {
			return nil, net.ErrClosed
		}
	}
}

func (p *patient) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Listener.Close()
}

// Spare keeps one descriptor for the time when no other is to be had: who gives it
// up can accept a connection, if only to refuse it. The zero value is ready.
type Spare struct {
	mu   sync.Mutex
	file *os.File
}

// Keep sees that there is one, as far as that is possible.
func (s *Spare) Keep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepLocked()
}

func (s *Spare) keepLocked() {
	if s.file == nil {
		s.file, _ = os.Open(os.DevNull) // without it nothing but an answer is lost
	}
}

// Lend calls f with the descriptor given up, which f may use, and takes it back
// afterwards if it can. It returns false, without calling f, if there is none.
func (s *Spare) Lend(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepLocked()
	if s.file == nil {
		return false
	}
	s.file.Close() //nolint:errcheck // nothing was written
	s.file = nil
	f()
	s.keepLocked()
	return true
}

// Close gives it up for good.
func (s *Spare) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		s.file.Close() //nolint:errcheck // nothing was written
		s.file = nil
	}
}
