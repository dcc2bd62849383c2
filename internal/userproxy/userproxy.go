// Package userproxy is the user-space proxy of published ports (Docker's
// docker-proxy), for what the kernel cannot lead to a container by itself: ::1 and
// link-local addresses, IPv6 clients of a container that has IPv4 only, and datagrams
// to broadcast addresses; and for whole ports where no rule of ours may translate them,
// or the host's own rules are to judge them.
//
//	desired.Forward -> Apply -> the sockets of the reservation (package hostports), or
//	                            its own, opened for exactly one address
//
// It promises:
//
//   - What the kernel lacks, a family, is no failure: nobody can connect there.
//   - Broadcasts are heard at no more than 1 024 ports of one publication.
//   - A proxy of more than 1 024 ports has one socket, to which the kernel steers
//     them all. Datagrams to ports that the kernel itself chooses from
//     (net.ipv4.ip_local_port_range) are not served then. Where the kernel is not
//     able to, a proxy of more than 4 096 ports is not served, which is logged.
//   - Where a row says so, the container sees the client's own address. It is for others
//     to have the answers delivered to this host.
//   - Every connection, client and wait is bounded, and everything has ended when
//     Close returns.
//   - The sockets of UDP clients can be handed to a successor in another process; what
//     arrives in between waits in them.
//
// It must not choose ports, must not know who wants a row or why, must not touch
// the firewall, and never looks into what it carries. It works in the network
// namespace of the process.
package userproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/portsocket"
	"github.com/linkspan/linkspan/internal/userproxy/portsteer"
)

// Options is what a Server needs.
type Options struct {
	Logger  *slog.Logger // nil discards
	Sockets *portsocket.Table
}

// Server holds the proxies of a host. It is made by New.
type Server struct {
	log                    *slog.Logger
	conns                  limits.Pool // TCP connections of all proxies
	flows                  limits.Pool // UDP clients of all proxies
	connsOfRow, flowsOfRow int64       // at most
	pipes                  pipes       // through which connections pass data
	born                   time.Time   // from which on flows count their time

	outage    limits.Outage // nothing can be accepted
	spare     limits.Spare  // to refuse then
	broken    atomic.Int32  // sockets that have failed since the last repair
	repairing atomic.Bool   // repair is at work
	internals internals
	quit      chan struct{} // closed by Close

	// table has the lock that orders everything but the carrying of data, which never
	// takes it; it guards what follows.
	table    *portsocket.Table
	steering portsteer.Steer
	sockets  map[*portsocket.Socket]*socket // of the table, from which something is served, or was
	proxies  map[desired.Key]*proxy
	flowing  []handedFlow // adopted UDP clients: nobody has asked for them yet
	tcp, udp *poller      // nil until there is something to serve
	buffers  sync.Pool    // of *datagram

	closed     bool
	handedOver bool          // another Server's to serve
	left       []desired.Row // what was held then
	released   []*proxy      // finish their connections
	serving    sync.WaitGroup
}

// New returns a Server that holds nothing yet.
func New(o Options) *Server {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		log:        log,
		conns:      limits.Pool{Max: maxConnsTotal, Least: leastConns, Limit: limits.OneIn(filesOfConns)},
		flows:      limits.Pool{Max: maxFlowsTotal, Least: leastFlows, Limit: limits.OneIn(filesOfFlows)},
		born:       time.Now(),
		connsOfRow: maxConns,
		flowsOfRow: maxFlows,
		outage:     limits.Outage{Logger: log, Op: "forward.accept", What: "the forwarder of published ports"},
		quit:       make(chan struct{}),
		table:      o.Sockets,
		sockets:    map[*portsocket.Socket]*socket{},
		proxies:    map[desired.Key]*proxy{},
		buffers:    sync.Pool{New: func() any { return new(datagram) }},
	}
	s.pipes.buffers = &s.buffers
	return s
}

// Apply serves the Forward rows among deltas, to nobody in the internal networks that
// Isolate rows name, and leaves the other kinds alone. A row lives on the sockets of
// the reservation that its ports lie in; without one it binds its own. What could
// not be done is in the error as *desired.Failure, one for each row, joined.
// Applying the same deltas again changes nothing.
func (s *Server) Apply(ctx context.Context, deltas []desired.Delta) error {
	s.table.Lock()
	defer s.table.Unlock()
	if err := s.refusal(); err != nil {
		return err
	}
	s.internals.apply(deltas)
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
// nothing. Errors are as Apply's. Reservations are left alone; adopted
// sockets that no row has asked for by then are closed.
func (s *Server) Resync(ctx context.Context, want desired.State) (desired.Report, error) {
	s.table.Lock()
	defer s.table.Unlock()
	if err := s.refusal(); err != nil {
		return desired.Report{}, err
	}
	var report desired.Report
	s.internals.resync(want, &report)
	s.dropStrays(want, &report)
	failures := s.repairAll(&report)
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
	s.table.CloseAdopted()
	s.discardFlows()
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
	s.table.Lock()
	defer s.table.Unlock()
	if err := s.refusal(); err != nil {
		return desired.Report{}, err
	}
	report := desired.Report{Drift: s.internals.drift(want)}
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
	for _, sock := range s.table.Broken() {
		report.Drift = append(report.Drift, faulty+sock.String())
	}
	return report, nil
}

// Rows returns the Forward and Isolate rows that are held, in the order of keys: what a
// successor has to be given. After HandOver it returns what was held then.
func (s *Server) Rows() []desired.Row {
	s.table.Lock()
	defer s.table.Unlock()
	if s.handedOver {
		return slices.Clone(s.left)
	}
	return s.rows()
}

func (s *Server) rows() []desired.Row {
	var out []desired.Row
	for _, p := range s.proxies {
		out = append(out, p.row)
	}
	for _, r := range s.internals.rows() {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b desired.Row) int {
		return a.Key().Compare(b.Key())
	})
	return out
}

// Close lets go of everything, cuts all connections and waits until all of the
// server's goroutines have ended. It may be called more than once. Reservations may be
// closed after it.
func (s *Server) Close() error {
	s.table.Lock()
	defer s.table.Unlock()
	if !s.closed {
		close(s.quit)
	}
	s.closed = true
	for _, p := range s.released {
		p.end()
	}
	for key := range s.proxies {
		s.unserve(key)
	}
	s.table.Close()
	s.discardFlows()
	s.stopPolling()
	s.serving.Wait()
	s.pipes.close()
	s.spare.Close()
	return s.steering.Close()
}

// refusal returns why nothing can be asked for any more; nil if it can.
func (s *Server) refusal() error {
	if s.closed || s.handedOver {
		return errClosed()
	}
	return s.table.Err()
}

func errClosed() error {
	return &model.Error{Op: "forward.apply", Kind: model.Unavailable, Err: errors.New("forwarder is closed")}
}

// StepAside implements hostports.Proxy: it lets go of own sockets at single addresses
// of a port that is reserved at all of them, and serves their rows anew afterwards.
func (s *Server) StepAside(ctx context.Context, e portsocket.Endpoint) (serveAgain func()) {
	var own []*proxy
	for _, p := range s.proxies {
		for _, other := range p.sockets {
			if other.Wildcard() == e && other.Endpoint != e && !other.Reserved {
				own = append(own, p)
			}
		}
	}
	if len(own) == 0 {
		return nil
	}
	for _, p := range own {
		s.unserve(p.row.Key())
	}
	return func() {
		for _, p := range own {
			if _, lost := s.serve(context.WithoutCancel(ctx), p.row); lost != nil {
				s.log.Warn("forward is lost until the next repair", "op", "forward.claim", "err", lost)
			}
		}
	}
}

// serve makes the row true and tells whether that took a change. A row that
// cannot be served in all its ports is not served at all.
func (s *Server) serve(ctx context.Context, row desired.Forward) (bool, error) {
	old := s.proxies[row.Key()]
	if old != nil && old.row == row {
		return false, nil
	}
	if err := validate(row); err != nil {
		return false, err
	}
	p := newProxy(s, row)
	if err := s.bindAll(ctx, p); err != nil {
		p.end()
		s.unbind(p, old)
		return false, err
	}
	s.proxies[row.Key()] = p
	if old != nil {
		old.end()
		s.unbind(old, nil)
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
	for _, p := range s.released {
		if p.row.Key() == key {
			p.end()
		}
	}
	if p := s.proxies[key]; p != nil {
		delete(s.proxies, key)
		p.end()
		s.unbind(p, nil)
	}
}

// bindAll leads all ports of a row to the proxy, by one socket if they are many and
// the kernel is able to. If it is not and they are too many, they are not served.
func (s *Server) bindAll(ctx context.Context, p *proxy) error {
	err := errNotSteered
	if p.row.Rest && p.row.Host.Is4() && int(p.row.Last)-int(p.row.First) >= portsocket.MaxRange {
		s.log.Info(fmt.Sprintf("%s: not served, it has more than %d ports", p.row, portsocket.MaxRange), "op", "forward.apply")
		return nil
	}
	if p.steerable() {
		if err = s.bindSteered(p); !errors.Is(err, errNotSteered) {
			return err
		}
	}
	if p.tooWide() {
		s.log.Warn(fmt.Sprintf("%s: not served, it has more than %d ports", p.row, maxProxiedPorts), "op", "forward.apply", "err", err)
		return nil
	}
	return s.bind(ctx, p)
}

// bind leads all ports of a row to the proxy. What led elsewhere from the same
// address leads to the proxy from then on. With an error some may lead there.
func (s *Server) bind(ctx context.Context, p *proxy) error {
	for port := int(p.row.First); port <= int(p.row.Last); port++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		sock, err := s.socketFor(p.row, uint16(port))
		if errors.Is(err, portsocket.ErrUnsupported) {
			continue // nobody can connect there either
		}
		if err != nil {
			return err
		}
		p.sockets = append(p.sockets, sock)
		if err := s.open(sock, p); err != nil {
			return err
		}
	}
	return nil
}

// socketFor returns the socket of a reservation or, without, one of the row's
// own.
func (s *Server) socketFor(row desired.Forward, port uint16) (*socket, error) {
	at := portsocket.Endpoint{Protocol: row.Protocol, Addr: row.Host, Port: port}
	for _, e := range []portsocket.Endpoint{at, at.Wildcard()} {
		if sock := s.table.Find(e); sock != nil {
			return s.socketOf(sock), nil
		}
	}
	sock, err := s.table.Open(at)
	if err != nil {
		return nil, err
	}
	return s.socketOf(sock), nil
}

// open lets packets for the proxy's address into a socket.
func (s *Server) open(sock *socket, p *proxy) error {
	watch, err := s.polling(sock.Protocol)
	if err != nil {
		return err
	}
	sock.lead(p.row.Host, p)
	if err := sock.filter(); err != nil {
		return fmt.Errorf("open %s: %w", sock, err)
	}
	s.resumeFlows(sock, p)
	return watch.add(sock)
}

// unbind takes a proxy off its sockets, puts instead where that was before, and
// closes the sockets that nobody needs any more.
func (s *Server) unbind(p, instead *proxy) {
	if p.steered != nil {
		defer s.resteer()
	}
	for _, sock := range p.sockets {
		led := sock.route(p.row.Host) == p
		if led && instead != nil && slices.Contains(instead.sockets, sock) {
			sock.lead(p.row.Host, instead)
		} else if led {
			sock.lead(p.row.Host, nil)
		}
		if s.table.CloseUnused(sock.Socket) || !led {
			continue
		}
		if err := sock.filter(); err != nil {
			// Whoever gets through is turned away by accept.
			s.log.Warn("socket cannot be filtered", "op", "forward.apply", "err", err)
		}
	}
}
