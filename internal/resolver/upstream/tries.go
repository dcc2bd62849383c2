package upstream

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/resolver/message"
)

// step is one way to ask one server.
type step struct {
	server  netip.Addr
	network string // "udp" or "tcp"
	place   int    // of the server in the order
}

// attempt is what came of a step.
type attempt struct {
	step
	answer   *message.Answer
	negative bool
	err      error
}

// tries is one request with all that is asked for it: name servers in order, the next
// one as soon as one fails, or in addition to one that has been silent for too
// long. The first good answer counts.
type tries struct {
	client           *Client
	request          Request
	order            []netip.Addr
	begun            time.Time
	next             int           // of the steps
	pause            time.Duration // before it
	open             []step        // asked and silent
	refused          []netip.Addr
	failed           []netip.Addr
	attempts         chan attempt
	best             attempt
	waitedLongEnough bool // a negative answer need not wait for better servers
	noSocket         bool // an attempt failed for lack of a socket
	silence          bool // an attempt was not answered before its time was up
}

// stages are how the servers are asked: all over UDP, the silent ones again, since
// datagrams get lost, and at last over TCP.
var stages = [...]string{"udp", "udp", "tcp"}

func newTries(u *Client, req Request) *tries {
	return &tries{client: u, request: req, begun: time.Now(), order: req.Servers.health.order(req.Servers.Addrs)}
}

// tryFirst asks the first server and returns its answer. Mostly that is all there is
// to do, and it takes neither a goroutine nor a timer. Without an answer that needs
// no more thought it returns nil, and tryOthers goes on from there.
func (r *tries) tryFirst(ctx context.Context) *message.Answer {
	u, req := r.client, r.request
	s, _ := r.take()
	a := attempt{step: s}
	begin, patience := u.Now(), req.Servers.health.patience(s.server, u.Patience)
	c, err := u.send(ctx, s, req, req.Servers.health.mode(s.server))
	if err != nil {
		a.err = s.wrap(err)
		r.note(a)
		return nil
	}
	reply, err := c.receive(time.Now().Add(patience))
	if err != nil || message.DeniesEDNS(reply) || message.IsTruncated(reply) {
		silent := errors.Is(err, os.ErrDeadlineExceeded)
		if !silent {
			r.pause = patience
		}
		r.try(ctx, s, func() ([]byte, error) {
			defer c.close()
			if silent {
				return c.receive(deadline(ctx))
			}
			return reply, err
		})
		return nil
	}
	c.close()
	if a.answer, a.negative, a.err = u.read(s, req, reply, begin); a.err != nil {
		r.note(a)
		return nil
	}
	req.Servers.health.result(s.server, nil)
	return a.answer
}

// tryOthers asks the servers that are left and returns the answer that counts.
func (r *tries) tryOthers(ctx context.Context) *message.Answer {
	u := r.client
	next := time.NewTimer(r.pause)
	defer next.Stop()
	hold := time.NewTimer(u.Patience - time.Since(r.begun))
	defer hold.Stop()
	for !r.decided() {
		select {
		case <-next.C:
			if s, ok := r.take(); ok {
				r.try(ctx, s, nil)
				next.Reset(r.request.Servers.health.patience(s.server, u.Patience))
			}
		case a := <-r.attempts:
			if r.note(a); a.err != nil {
				next.Reset(0)
			}
		case <-hold.C:
			r.waitedLongEnough = true
		case <-ctx.Done():
			return r.best.answer
		}
	}
	return r.result()
}

// take returns the next step that makes sense, if there is one.
func (r *tries) take() (step, bool) {
	for r.next < len(r.order)*len(stages) {
		place := r.next % len(r.order)
		s := step{r.order[place], stages[r.next/len(r.order)], place}
		r.next++
		if !slices.Contains(r.refused, s.server) {
			return s, true
		}
	}
	return step{}, false
}

// try takes a step in a goroutine of its own. first, if not nil, is where it
// begins.
func (r *tries) try(ctx context.Context, s step, first func() ([]byte, error)) {
	if r.attempts == nil {
		r.attempts = make(chan attempt, len(r.order)*len(stages))
	}
	r.open = append(r.open, s)
	u, req, attempts := r.client, r.request, r.attempts
	u.Running.Go(func() {
		a := attempt{step: s}
		a.answer, a.negative, a.err = u.takeStep(ctx, s, req, first)
		attempts <- a
	})
}

// note takes note of an attempt that has ended.
func (r *tries) note(a attempt) {
	if i := slices.Index(r.open, a.step); i >= 0 { // the same step may be open twice
		r.open = slices.Delete(r.open, i, i+1)
	}
	switch {
	case a.err == nil:
		if r.best.answer == nil || r.best.negative {
			r.best = a
		}
	case isRefusal(a.err):
		r.refused = append(r.refused, a.server)
		fallthrough
	default:
		r.failed = append(r.failed, a.server)
		r.noSocket = r.noSocket || errors.Is(a.err, ErrNoSocket)
		r.silence = r.silence || isTimeout(a.err)
	}
}

// isTimeout tells whether time was up, be it that of the socket or of the request:
// they end together, and either may be noticed first.
func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// decided tells whether there is nothing left to wait for. A server further down may not know a
// name that one further up does, so its "no" waits for them for a while.
func (r *tries) decided() bool {
	if r.best.answer == nil {
		return r.next == len(r.order)*len(stages) && len(r.open) == 0
	}
	return !r.best.negative || r.waitedLongEnough || !slices.ContainsFunc(r.open, func(s step) bool { return s.place < r.best.place })
}

// result is the answer that counts, after those who did not give it have been
// noted. If nobody gave one, that says nothing about the servers.
func (r *tries) result() *message.Answer {
	if r.best.answer == nil {
		return nil
	}
	lost := r.failed
	for _, s := range r.open {
		if s.place < r.best.place && !slices.Contains(lost, s.server) {
			lost = append(lost, s.server)
		}
	}
	lost = slices.DeleteFunc(lost, func(a netip.Addr) bool { return a == r.best.server })
	r.request.Servers.health.result(r.best.server, lost)
	return r.best.answer
}

// read makes an answer of a reply and tells whether it says that something is not
// there.
func (u *Client) read(s step, req Request, reply []byte, begin time.Time) (*message.Answer, bool, error) {
	now := u.Now()
	req.Servers.health.measured(s.server, now.Sub(begin))
	o, err := req.Scan(reply)
	if err != nil {
		return nil, false, s.wrap(err)
	}
	switch o.Rcode {
	case dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeFormatError, dns.RcodeNotImplemented, dns.RcodeBadVers:
		return nil, false, refusal{s.server, o.Rcode}
	}
	a, err := req.Answer(reply, o, now)
	return a, o.Negative, err
}
