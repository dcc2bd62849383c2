// Package forward holds host ports against the other processes of the host, and
// serves in user space the published ports that the kernel cannot lead to a
// container by itself: those at ::1 and at link-local addresses, IPv6 clients of a
// container that has IPv4 only, and datagrams to broadcast addresses.
//
//	desired.Reserve -> Claim -> one bound socket per port, which drops everything;
//	                            for more than 1 024 ports a guard of bind(2)
//	desired.Forward -> Apply -> the same sockets, opened for exactly one address
//
// It promises:
//
//   - While a reservation is held nobody else can bind its ports, and what
//     reaches them unforwarded gets no answer at all.
//   - Reservations of more than 1 024 ports have no sockets: a program in the kernel
//     refuses others instead, see package bindguard for what it does not see. Where
//     that cannot be had, which is logged, their ports must be free when they are
//     claimed, and after that nothing holds them. For SCTP they are not even looked
//     through.
//   - What the kernel lacks, a family or SCTP, is no failure: nobody can bind there.
//   - Broadcasts are heard at no more than 1 024 ports of one publication.
//   - A forward of more than 1 024 ports has one socket, to which the kernel steers
//     them all. Datagrams to ports that the kernel itself chooses from
//     (net.ipv4.ip_local_port_range) are not served then. Where the kernel is not
//     able to, a forward of more than 4 096 ports is not served, which is logged.
//   - Every connection, client and wait is bounded, and everything has ended when
//     Close returns.
//   - All sockets can be handed to a successor in another process; what arrives
//     in between waits in them.
//
// It must not choose ports, must not know who wants a row or why, must not touch
// the firewall, and never looks into what it carries. It works in the network
// namespace of the process.
package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/forward/bindguard"
	"github.com/linkspan/linkspan/internal/forward/portsteer"
	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/model"
)

// Options is what a Server needs.
type Options struct {
	Logger *slog.Logger // nil discards
	// Cgroup is the folder of cgroup v2 whose processes large reservations are held
	// against; empty is the root of the hierarchy that is mounted.
	Cgroup string
}

// Server holds the reservations and forwards of a host. It is made by New.
type Server struct {
	log                    *slog.Logger
	conns                  limits.Pool  // TCP connections of all forwards
	flows                  limits.Pool  // UDP clients of all forwards
	connsOfRow, flowsOfRow int64        // at most
	mostSockets            func() int64 // that hold ports
	pipes                  pipes        // through which connections pass data
	born                   time.Time    // from which on flows count their time

	outage    limits.Outage             // nothing can be accepted
	spare     limits.Spare              // to refuse then
	broken    atomic.Int32              // sockets that have failed since the mender looked
	mending   atomic.Bool               // it is at work
	internals atomic.Pointer[internals] // never changed in place
	quit      chan struct{}             // closed by Close

	guard    *bindguard.Guard
	steering portsteer.Steer

	turn     sync.Mutex // orders everything but the carrying of data, which never takes it
	sockets  map[name]*socket
	reserves map[desired.Key]*reservation
	lanes    map[desired.Key]*lane
	adopted  map[name]*os.File // nobody has asked for these yet
	flowing  []handedFlow      // adopted UDP clients, as above
	tcp, udp *poller           // nil until there is something to serve
	buffers  sync.Pool         // of *datagram

	helpless bool // the last attempt to guard reservations failed
	closed   bool
	away     bool          // handed over: another Server's to serve
	left     []desired.Row // what was held then
	released []*lane       // finish their connections
	serving  sync.WaitGroup
}

// New returns a Server that holds nothing yet.
func New(o Options) *Server {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		log:         log,
		guard:       bindguard.New(bindguard.Options{Cgroup: o.Cgroup}),
		conns:       limits.Pool{Max: maxConnsTotal, Least: leastConns, Limit: limits.OneIn(filesOfConns)},
		flows:       limits.Pool{Max: maxFlowsTotal, Least: leastFlows, Limit: limits.OneIn(filesOfFlows)},
		born:        time.Now(),
		connsOfRow:  maxConns,
		mostSockets: limits.OneIn(filesOfSockets),
		flowsOfRow:  maxFlows,
		outage:      limits.Outage{Logger: log, Op: "forward.accept", What: "the forwarder of published ports"},
		quit:        make(chan struct{}),
		sockets:     map[name]*socket{},
		reserves:    map[desired.Key]*reservation{},
		lanes:       map[desired.Key]*lane{},
		adopted:     map[name]*os.File{},
		buffers:     sync.Pool{New: func() any { return new(datagram) }},
	}
	s.internals.Store(&internals{})
	return s
}

// Apply serves the Forward rows among deltas, to nobody in the internal networks that
// Isolate rows name, and leaves the other kinds alone: reservations come and go by Claim and Unclaim. A row lives on the sockets of
// the reservation that its ports lie in; without one it binds its own. What could
// not be done is in the error as *desired.Failure, one for each row, joined.
// Applying the same deltas again changes nothing.
func (s *Server) Apply(ctx context.Context, deltas []desired.Delta) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.closed || s.away {
		return errClosed()
	}
	s.isolate(deltas)
	for _, d := range deltas {
		if _, ok := d.Old.(desired.Forward); ok && d.New == nil {
			s.unserve(d.Key())
		}
	}
	var failures []error
	for _, d := range deltas {
		if row, ok := d.New.(desired.Forward); ok {
			err := limits.Retry(ctx, func() error {
				_, err := s.serve(ctx, row)
				return err
			})
			if err != nil {
				failures = append(failures, &desired.Failure{Owner: d.Owner, Key: d.Key(), Err: err})
			}
		}
	}
	return errors.Join(failures...)
}

// Resync makes exactly the Forward rows of want true: it serves what is missing,
// and lets go of what is left over. A second Resync of the same state reports
// nothing. Errors are as Apply's. Reservations are left alone, see Claimed; adopted
// sockets that no row has asked for by then are closed.
func (s *Server) Resync(ctx context.Context, want desired.State) (desired.Report, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.closed || s.away {
		return desired.Report{}, errClosed()
	}
	var report desired.Report
	s.isolateAll(want, &report)
	s.dropStrays(want, &report)
	failures := s.mendAll(&report)
	note := func(o desired.Owned, changed bool, err error) {
		if err != nil {
			failures = append(failures, &desired.Failure{Owner: o.Owner, Key: o.Row.Key(), Err: err})
		} else if changed {
			report.Drift = append(report.Drift, missing+o.Row.String())
			report.Writes++
		}
	}
	for o := range want.Kind(desired.KindForward) {
		if row, ok := o.Row.(desired.Forward); ok {
			changed, err := s.serve(ctx, row)
			note(o, changed, err)
		}
	}
	s.discardAdopted()
	return report, errors.Join(failures...)
}

// The beginnings of lines in a report.
const (
	missing  = "missing or wrong: "
	leftOver = "left over: "
	faulty   = "listener is broken: "
)

// dropStrays lets go of what want has no row for.
func (s *Server) dropStrays(want desired.State, report *desired.Report) {
	for _, row := range s.rows() {
		if _, wanted := want.Get(row.Key()); wanted || row.Key().Kind != desired.KindForward {
			continue
		}
		s.unserve(row.Key())
		report.Drift = append(report.Drift, leftOver+row.String())
		report.Writes++
	}
}

// Check says what Resync would change, and changes nothing.
func (s *Server) Check(_ context.Context, want desired.State) (desired.Report, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.closed || s.away {
		return desired.Report{}, errClosed()
	}
	report := desired.Report{Drift: s.isolationDrift(want)}
	have := map[desired.Key]desired.Row{}
	for _, row := range s.rows() {
		have[row.Key()] = row
		if _, wanted := want.Get(row.Key()); !wanted && row.Key().Kind == desired.KindForward {
			report.Drift = append(report.Drift, leftOver+row.String())
		}
	}
	for o := range want.Kind(desired.KindForward) {
		if have[o.Row.Key()] != o.Row {
			report.Drift = append(report.Drift, missing+o.Row.String())
		}
	}
	for _, sock := range s.unwhole() {
		report.Drift = append(report.Drift, faulty+sock.name.String())
	}
	return report, nil
}

// Rows returns the Forward, Reserve and Isolate rows that are held, in the order of keys:
// what a successor has to be given. After Release it returns what was held then.
func (s *Server) Rows() []desired.Row {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.away {
		return slices.Clone(s.left)
	}
	return s.rows()
}

func (s *Server) rows() []desired.Row {
	var out []desired.Row
	for _, l := range s.lanes {
		out = append(out, l.row)
	}
	for _, r := range s.reserves {
		out = append(out, r.row)
	}
	for _, r := range *s.internals.Load() {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b desired.Row) int {
		return a.Key().Compare(b.Key())
	})
	return out
}

// Close lets go of everything, cuts all connections and waits until all of the
// server's goroutines have ended. It may be called more than once.
func (s *Server) Close() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if !s.closed {
		close(s.quit)
	}
	s.closed = true
	for _, l := range s.released {
		l.end()
	}
	for key := range s.lanes {
		s.unserve(key)
	}
	for key := range s.reserves {
		s.unclaim(key)
	}
	s.discardAdopted()
	s.stopPolling()
	s.serving.Wait()
	s.pipes.close()
	s.spare.Close()
	return errors.Join(s.guard.Close(), s.steering.Close())
}

func errClosed() error {
	return &model.Error{Op: "forward.apply", Kind: model.Unavailable, Err: errors.New("forwarder is closed")}
}

// serve makes the row true and tells whether that took a change. A row that
// cannot be served in all its ports is not served at all.
func (s *Server) serve(ctx context.Context, row desired.Forward) (bool, error) {
	old := s.lanes[row.Key()]
	if old != nil && old.row == row {
		return false, nil
	}
	if err := validate(row); err != nil {
		return false, err
	}
	l := newLane(s, row)
	if err := s.layWidely(ctx, l); err != nil {
		l.end()
		s.lift(l, old)
		return false, err
	}
	s.lanes[row.Key()] = l
	if old != nil {
		old.end()
		s.lift(old, nil)
	}
	return true, nil
}

func validate(row desired.Forward) error {
	switch {
	case !row.Protocol.Forwardable():
		return model.Errorf(model.NotImplemented, "forward %s: only tcp and udp can be forwarded", row.Protocol)
	case row.First == 0 || row.First > row.Last || row.ToFirst == 0 || int(row.ToFirst)+int(row.Last-row.First) > 65535:
		return model.Errorf(model.Invalid, "invalid ports: %s", row)
	case !row.Host.IsValid() || !row.To.IsValid() || row.Rest && !row.Host.IsUnspecified():
		return model.Errorf(model.Invalid, "invalid address: %s", row)
	case row.Rest && row.Host.Is4() && row.Protocol != model.UDP:
		return model.Errorf(model.Invalid, "only datagrams are sent to broadcast addresses: %s", row)
	}
	return nil
}

// unserve ends a row: its connections are cut, its own sockets closed.
func (s *Server) unserve(key desired.Key) {
	for _, l := range s.released {
		if l.row.Key() == key {
			l.end()
		}
	}
	if l := s.lanes[key]; l != nil {
		delete(s.lanes, key)
		l.end()
		s.lift(l, nil)
	}
}

// layWidely leads all ports of a row to the lane, by one socket if they are many and
// the kernel is able to. If it is not and they are too many, they are not served.
func (s *Server) layWidely(ctx context.Context, l *lane) error {
	err := errNotSteered
	if l.row.Rest && l.row.Host.Is4() && int(l.row.Last)-int(l.row.First) >= maxHeldPorts {
		s.log.Info(fmt.Sprintf("%s: not served, it has more than %d ports", l.row, maxHeldPorts), "op", "forward.apply")
		return nil
	}
	if l.steerable() {
		if err = s.laySteered(l); !errors.Is(err, errNotSteered) {
			return err
		}
	}
	if l.tooWide() {
		s.log.Warn(fmt.Sprintf("%s: not served, it has more than %d ports", l.row, maxForwardPorts), "op", "forward.apply", "err", err)
		return nil
	}
	return s.lay(ctx, l)
}

// lay leads all ports of a row to the lane. What led elsewhere from the same
// address leads to the lane from then on. With an error some may lead there.
func (s *Server) lay(ctx context.Context, l *lane) error {
	for port := int(l.row.First); port <= int(l.row.Last); port++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		sock, err := s.socketFor(l.row, uint16(port))
		if errors.Is(err, errLacking) {
			continue // nobody can connect there either
		}
		if err != nil {
			return err
		}
		l.sockets = append(l.sockets, sock)
		if err := s.open(sock, l); err != nil {
			return err
		}
	}
	return nil
}

// socketFor returns the socket of a reservation or, without, one of the row's
// own.
func (s *Server) socketFor(row desired.Forward, port uint16) (*socket, error) {
	at := name{row.Protocol, row.Host, port}
	if sock := s.sockets[at]; sock != nil {
		return sock, nil
	}
	if sock := s.sockets[at.anywhere()]; sock != nil {
		return sock, nil
	}
	return s.socket(at)
}

// open lets packets for the lane's address into a socket.
func (s *Server) open(sock *socket, l *lane) error {
	p, err := s.polling(sock.name.protocol)
	if err != nil {
		return err
	}
	sock.lead(l.row.Host, l)
	if err := sock.filter(); err != nil {
		return fmt.Errorf("open %s: %w", sock.name, err)
	}
	s.resumeFlows(sock, l)
	return p.add(sock)
}

// lift takes a lane off its sockets, puts instead where that was before, and
// closes the sockets that nobody needs any more.
func (s *Server) lift(l, instead *lane) {
	if l.steered != nil {
		defer s.resteer()
	}
	for _, sock := range l.sockets {
		led := sock.route(l.row.Host) == l
		if led && instead != nil && slices.Contains(instead.sockets, sock) {
			sock.lead(l.row.Host, instead)
		} else if led {
			sock.lead(l.row.Host, nil)
		}
		if s.dropUnused(sock) || !led {
			continue
		}
		if err := sock.filter(); err != nil {
			// Whoever gets through is turned away by accept.
			s.log.Warn("socket cannot be filtered", "op", "forward.apply", "err", err)
		}
	}
}
