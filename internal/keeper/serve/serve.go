// Package serve is the keeper's side of the conversation with the daemon: it
// takes calls from a unix socket, passes them on to what the keeper holds, and
// hands everything over to the keeper that comes after it.
//
// It promises that a call is answered only after it was done, that a keeper
// without daemon and without anything to keep ends by itself, and that a hand-over
// which fails half-way leaves the old keeper serving. It must not know what a
// row or an output is good for.
//
//	daemon ──▶ socket ──▶ Server ──▶ Rows (names, resolvers)
//	                        │  ╰───▶ Outputs, Follower (what containers print)
//	                        ╰─ handover ─▶ Estate ─▶ the next keeper
package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/model"
)

// Rows makes rows of desired so; see engine.Hand.
type Rows interface {
	Apply(ctx context.Context, deltas []desired.Delta) error
	Resync(ctx context.Context, want desired.State) (desired.Report, error)
	Check(ctx context.Context, want desired.State) (desired.Report, error)
}

// Ports holds host ports; see engine.PortReserver.
type Ports interface {
	Reserve(ctx context.Context, rows []desired.Reserve) error
	Release(ctx context.Context, rows []desired.Reserve) error
	Reserved() []desired.Reserve
}

// Guard looks after the firewall while there is no daemon.
type Guard interface {
	// Configure says which firewall the policies are for that come next.
	Configure(f wire.Firewall)
	// Rest leaves the firewall to a daemon that has come. When it returns, nothing is
	// written any more.
	Rest()
	// Resume is Rest's end: that daemon is gone.
	Resume()
}

// Outputs reads what containers print.
type Outputs interface {
	// Open begins to read FIFOs that exist. What is open already stays as it is.
	Open(ctx context.Context, o model.Output) error
	// Begun says that the process has opened its ends: their closing is the end.
	Begun(id model.ContainerID)
	// Drain returns once the output has ended; at once if it is not open.
	Drain(ctx context.Context, id model.ContainerID) error
	// Close ends reading and all clients. Not open is success.
	Close(id model.ContainerID) error
	List() []model.Output
}

// Follower gives live output.
type Follower interface {
	// Follow begins at once, also before the output is opened.
	Follow(id model.ContainerID, stdout, stderr bool) Client
}

// Client is one reader of live output.
type Client interface {
	// Joined is the time from which on output comes.
	Joined() time.Time
	// Next returns a piece of "stdout" or "stderr", valid until the next call;
	// io.EOF at the end.
	Next(ctx context.Context) (stream string, data []byte, err error)
	Close()
}

// Leases gets addresses from DHCP servers, and keeps them.
type Leases interface {
	// Ask returns the lease of an endpoint, or a new one.
	Ask(ctx context.Context, r facts.LeaseRequest) (model.Lease, error)
	// Return gives one back. One that is not held is success.
	Return(ctx context.Context, id model.EndpointID) error
	// Watch returns what is held once that is not what it was at the revision seen.
	Watch(ctx context.Context, seen uint64) (uint64, []facts.HeldLease, error)
}

// Estate is all that a keeper holds, for whom comes after it.
type Estate interface {
	// Release stops serving and returns everything. What is on its way is still
	// finished.
	Release() (wire.Inventory, []wire.Descriptor, error)
	// Adopt serves what was released, and owns the descriptors.
	Adopt(i wire.Inventory, descriptors []wire.Descriptor) error
	// Empty tells whether nothing is held.
	Empty() bool
}

const (
	// maxCalls bounds the calls that are worked on. Draining calls wait for as long
	// as their containers live; there is one for each.
	maxCalls = 16384
	// answerTime bounds the writing of an answer, and of a piece of output to a
	// daemon that does not read.
	answerTime = time.Minute
	// idleTimeout is how long a keeper with nothing to keep waits for a daemon.
	idleTimeout = 5 * time.Second
	// flushTime bounds how long a hand-over waits for clients to read what is
	// queued for them.
	flushTime = 2 * time.Second
	// filesOfFollows is the part of the process's descriptors, one in so many, that
	// clients of output may take.
	filesOfFollows = 16
)

// Options are what a Server passes calls on to.
type Options struct {
	Rows     Rows
	Ports    Ports
	Outputs  Outputs
	Follower Follower
	Estate   Estate
	Leases   Leases // may be nil
	Guard    Guard  // may be nil
	Queries  func() wire.Queries
	Hello    wire.Hello
	Logger   *slog.Logger
}

// Server answers daemons.
type Server struct {
	o     Options
	log   *slog.Logger
	calls chan struct{}
	over  context.CancelFunc // ends Serve

	listener *net.UnixListener
	outage   limits.Outage
	spares   [spareFiles]limits.Spare // for callers, while no other descriptor is to be had

	mu      sync.Mutex // guards the fields below
	conns   map[*wire.Conn]bool
	follows map[*follow]bool
	handing *handoff // what another keeper is about to serve; nil if none is
	taken   bool     // it does
	ending  bool     // after the answer to the call that is the reason

	woken chan struct{} // holds a token when conns have changed
}

// New returns a server.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		o: o, log: o.Logger, calls: make(chan struct{}, maxCalls),
		conns: map[*wire.Conn]bool{}, follows: map[*follow]bool{}, woken: make(chan struct{}, 1),
		outage: limits.Outage{Logger: o.Logger, Op: "keeper.accept", What: "the keeper's socket"},
	}
}

// Serve answers whoever connects, until ctx ends, another keeper has taken over,
// or there is neither a daemon nor anything to keep. It closes l.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	ctx, s.over = context.WithCancel(ctx)
	defer s.over()
	s.listener = l
	stop := context.AfterFunc(ctx, func() { l.Close() }) //nolint:errcheck // it is being given up
	defer stop()
	s.keepSpares()
	defer s.closeSpares()
	var work sync.WaitGroup
	work.Go(func() { s.endWhenIdle(ctx) })
	s.goOn(ctx, &work)
	for {
		c, err := s.accept(ctx, l)
		if err != nil {
			if s.isEnding() {
				<-ctx.Done() // until the last answer was sent
			}
			s.over()
			s.closeConns()
			work.Wait()
			if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		conn := wire.NewConn(c)
		if err := s.admit(conn); err != nil {
			s.log.Warn("a caller is refused", "op", "keeper.accept", "err", err)
			conn.Close() //nolint:errcheck // nothing was said
			continue
		}
		work.Go(func() {
			defer s.leave(conn)
			s.handleConn(ctx, conn)
		})
	}
}

// accept returns the next connection. A lack of descriptors is waited out: whoever
// called before is served meanwhile, and a new caller by one that is kept for it.
func (s *Server) accept(ctx context.Context, l *net.UnixListener) (*net.UnixConn, error) {
	for {
		c, err := l.AcceptUnix()
		if err == nil {
			if s.outage.Lasts() {
				s.outage.Over()
				s.keepSpares()
			}
			return c, nil
		}
		if !limits.Passing(err) || ctx.Err() != nil {
			return nil, err
		}
		if limits.Scarce(err) {
			if c := s.acceptBySpare(l); c != nil {
				s.outage.Note(err)
				return c, nil
			}
		}
		s.outage.Wait(ctx.Done(), err)
	}
}

// spareFiles is how many callers get in while there are no descriptors: enough for
// the next keeper, that of a daemon that starts, and some that want output.
const spareFiles = 8

// acceptBySpare accepts a connection with a descriptor that was kept; nil if there is
// none left, or nobody waits.
func (s *Server) acceptBySpare(l *net.UnixListener) (c *net.UnixConn) {
	for i := range s.spares {
		lent := s.spares[i].Lend(func() {
			if l.SetDeadline(time.Now().Add(spareTime)) == nil {
				c, _ = l.AcceptUnix() // another time, if not now
			}
			l.SetDeadline(time.Time{}) //nolint:errcheck // it fails once it is closed
		})
		if lent {
			return c
		}
	}
	return nil
}

// spareTime bounds the wait for a connection that was there a moment ago.
const spareTime = 10 * time.Millisecond

func (s *Server) keepSpares() {
	for i := range s.spares {
		s.spares[i].Keep()
	}
}

func (s *Server) closeSpares() {
	for i := range s.spares {
		s.spares[i].Close()
	}
}

// admit lets in who runs as the same user: the socket's mode says so already.
func (s *Server) admit(c *wire.Conn) error {
	peer, err := c.Peer()
	if err != nil {
		return err
	}
	if int(peer.Uid) != os.Geteuid() && peer.Uid != 0 {
		return fmt.Errorf("process %d of user %d", peer.Pid, peer.Uid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = true
	return nil
}

func (s *Server) leave(c *wire.Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	c.Close() //nolint:errcheck // the other side has gone
	s.wake()
}

func (s *Server) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close() //nolint:errcheck // they are being given up
	}
}

// wake tells whoever watches for the end.
func (s *Server) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// endWhenIdle ends the server once nobody has been there for a while, and
// nothing is held.
func (s *Server) endWhenIdle(ctx context.Context) {
	timer := time.NewTimer(idleTimeout)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.woken:
			timer.Reset(idleTimeout)
		case <-timer.C:
			if s.isIdle() {
				s.log.Info("nothing to keep", "op", "keeper.end")
				s.over()
				return
			}
			timer.Reset(idleTimeout)
		}
	}
}

// end lets nobody in any more. The call that is the reason is still answered; then
// over is called. The caller holds mu.
func (s *Server) end() {
	s.ending = true
	s.listener.Close() //nolint:errcheck // it is being given up
}

func (s *Server) isEnding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

func (s *Server) isIdle() bool {
	s.mu.Lock()
	alone := len(s.conns) == 0
	s.mu.Unlock()
	return alone && s.o.Estate.Empty()
}

// handleConn takes the calls of one connection until it ends.
func (s *Server) handleConn(ctx context.Context, c *wire.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	var parts transfers
	guarded := s.o.Guard == nil // by the daemon on this connection, or by nobody
	defer func() {
		if guarded && s.o.Guard != nil {
			s.o.Guard.Resume()
		}
		cancel()
		c.Close() //nolint:errcheck // answers cannot be delivered any more
		calls.Wait()
		c.Drop()
		s.resume(c)
	}()
	for {
		var r wire.Request
		files, err := c.Receive(&r)
		wire.CloseAll(files) // no call brings any
		if err != nil {
			return
		}
		if r.Verb == wire.VerbHello && !guarded { // that is a daemon
			s.o.Guard.Rest()
			guarded = true
		}
		if r.Verb == wire.VerbFollow {
			s.follow(ctx, c, r)
			return
		}
		if r.Verb == wire.VerbHandOver {
			if err := s.handOver(c, r); err != nil {
				s.log.Error("hand-over broke off", "op", "keeper.handover", "err", err)
				return
			}
			continue
		}
		select {
		case s.calls <- struct{}{}:
		case <-ctx.Done():
			return
		}
		calls.Go(func() {
			defer func() { <-s.calls }()
			s.answer(c, r.ID, func() (any, error) { return s.call(ctx, &parts, r) })
			if endsConversation(r.Verb) && s.isEnding() {
				s.over()
			}
		})
	}
}

// answer calls f and sends what it returns.
func (s *Server) answer(c *wire.Conn, id uint64, f func() (any, error)) {
	body, err := f()
	a := wire.Answer{ID: id, Error: wire.PackError(err)}
	if err == nil && body != nil {
		if a.Body, err = json.Marshal(body); err != nil {
			a.Error = wire.PackError(fmt.Errorf("pack answer: %w", err))
		}
	}
	err = send(c, a)
	if errors.Is(err, wire.ErrTooLarge) {
		err = send(c, wire.Answer{ID: id, Error: wire.PackError(fmt.Errorf("the answer: %w", err))})
	}
	if err != nil {
		s.log.Debug("answer not delivered", "op", "keeper.answer", "err", err)
		c.Close() //nolint:errcheck // half an answer helps nobody
	}
}

// send sends within answerTime.
func send(c *wire.Conn, body any, files ...*os.File) error {
	if err := c.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	return c.Send(body, files...)
}
