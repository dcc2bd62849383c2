package web

import (
	"context"
	"time"

	"github.com/linkspan/linkspan/internal/privateapi"
)

// comparison is how the kernel differs from what is wanted, found out once for all pages: it takes as long as the host has
// networks. Its methods may be called from any goroutine.
type comparison struct {
	diff  func(context.Context) (privateapi.Drift, error)
	every time.Duration
	// turn is held by who looks at what follows, or compares.
	turn  chan struct{}
	at    time.Time // of the last answer; zero: there is none
	drift privateapi.Drift
	err   error
}

func newComparison(diff func(context.Context) (privateapi.Drift, error), every time.Duration) *comparison {
	return &comparison{diff: diff, every: every, turn: make(chan struct{}, 1)}
}

// now returns the last answer, and when that was; the kernel is compared if it is older than every. Pages that ask meanwhile
// wait for it. Who goes away while it compares leaves no answer: the next one compares.
func (c *comparison) now(ctx context.Context) (d privateapi.Drift, at time.Time, err error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return d, at, ctx.Err()
	}
	if c.at.IsZero() || time.Since(c.at) >= c.every {
		d, err := c.diff(ctx)
		if ctx.Err() != nil {
			return d, at, ctx.Err()
		}
		c.at, c.drift, c.err = time.Now(), d, err
	}
	return c.drift, c.at, c.err
}

// follow calls each for every answer, until ctx ends. What the daemon does not answer is asked again when the next would be
// due: that it is away, a page knows otherwise.
func (c *comparison) follow(ctx context.Context, each func(privateapi.Drift)) {
	for ctx.Err() == nil {
		d, at, err := c.now(ctx)
		if err == nil {
			each(d)
		}
		select {
		case <-time.After(time.Until(at.Add(c.every))):
		case <-ctx.Done():
		}
	}
}
