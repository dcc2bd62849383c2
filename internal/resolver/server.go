// Package resolver serves DNS to sandboxes at 127.0.0.11 from the rows it was
// given: names of endpoints out of immutable tables, the rest from the name
// servers of the sandbox or of the host.
//
//	rows -> Apply -> table, views -+
//	                               v
//	sandbox -> listener -> message.Query -> answer (local names, no lock)
//	                           |--> cache
//	                           \--> lookup (equal queries share one) -> upstream -> name servers
//
// When Apply returns, names are answered as its rows say. Release and Adopt hand
// the sockets to a successor without losing a query. The package must not
// enter namespaces (sockets are opened elsewhere and handed over), must not know
// who wants a row or why, and never trusts a packet: every queue, connection and
// wait in it is bounded.
package resolver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/resolver/upstream"
)

// Opener gives sockets inside network namespaces, which are named as in
// desired.Resolver; desired.HostNamespace is the engine's own.
type Opener interface {
	// OpenDNS returns sockets that get what the namespace sends to 127.0.0.11
	// port 53. udp must be a *net.UDPConn. The caller closes both.
	OpenDNS(ctx context.Context, namespace string) (udp net.PacketConn, tcp net.Listener, err error)
	upstream.Opener
}

// Options is what a Server needs.
type Options struct {
	Opener Opener
	// HostServers returns the host's name servers as of now, best first. It is
	// called for every query that goes to them. See upstream.HostFile.
	HostServers func() []netip.Addr
	Logger      *slog.Logger // nil discards
}

// Server is the DNS server of all sandboxes of a host. It is made by New.
type Server struct {
	opener   Opener
	log      *slog.Logger
	forward  *forwarder
	conns    limits.Pool // TCP connections of all sandboxes
	counters networkCounters
	batches  sync.Pool // of *batch
	outage   limits.Outage
	broken   chan string // namespaces whose listener has broken

	table atomic.Pointer[table] // readers load; only the holder of mu stores

	mu         sync.Mutex // orders Apply, Resync and Close; queries never take it
	listeners  map[string]*listener
	adopted    map[string]Handed // sockets no row has asked for yet
	released   []*listener       // handed over; they finish what they had read
	closed     bool
	handedOver bool // what was served is another Server's to serve
	serving    sync.WaitGroup
	stopWatch  context.CancelFunc
	watching   sync.WaitGroup // not of serving, for which Drain waits
}

// New returns a Server that answers nobody yet.
func New(o Options) *Server {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		opener:    o.Opener,
		log:       log,
		conns:     newPool(maxConnsTotal, leastConns, filesOfConns),
		listeners: map[string]*listener{},
		adopted:   map[string]Handed{},
		counters:  networkCounters{byNetwork: map[model.NetworkID]*counters{}},
		batches:   sync.Pool{New: func() any { return newBatch() }},
		outage:    limits.Outage{Logger: log, Op: "resolver.accept", What: "DNS over TCP"},
		broken:    make(chan string, watchBatch),
	}
	s.forward = newForwarder(o, &s.serving)
	s.table.Store(newTable())
	ctx, end := context.WithCancel(context.Background())
	s.stopWatch = end
	s.watching.Go(func() { s.watch(ctx) })
	return s
}

// Apply takes over the Name and Resolver rows among deltas and leaves the other
// kinds alone. When it returns, what it could do is being served; what it could
// not is in the error as *desired.Failure, one for each row, joined. Applying
// the same deltas again changes nothing.
func (s *Server) Apply(ctx context.Context, deltas []desired.Delta) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.handedOver {
		return errClosed()
	}
	s.applyNames(deltas)
	var failures []error
	for _, d := range deltas {
		if d.Key().Kind != desired.KindResolver {
			continue
		}
		if err := s.applyResolver(ctx, d); err != nil {
			failures = append(failures, &desired.Failure{Owner: d.Owner, Key: d.Key(), Err: err})
		}
	}
	return errors.Join(failures...)
}

// applyNames publishes all changed names at once.
func (s *Server) applyNames(deltas []desired.Delta) {
	e := s.table.Load().edit()
	for _, d := range deltas {
		if row, ok := d.New.(desired.Name); ok {
			e.put(row)
		} else if row, ok := d.Old.(desired.Name); ok {
			e.remove(row)
		}
	}
	s.table.Store(e.commit())
}

func (s *Server) applyResolver(ctx context.Context, d desired.Delta) error {
	if row, ok := d.New.(desired.Resolver); ok {
		_, err := s.serve(ctx, row)
		return err
	}
	if row, ok := d.Old.(desired.Resolver); ok {
		s.stop(row.Namespace)
	}
	return nil
}

// serve makes the row true and tells whether that took a change.
func (s *Server) serve(ctx context.Context, row desired.Resolver) (bool, error) {
	if l, ok := s.listeners[row.Namespace]; ok && l.works() {
		last := l.view.Load()
		if sameResolver(last.row, row) {
			return false, nil
		}
		l.view.Store(newView(row, s.counters.acquire(row), last))
		s.counters.release(last.counters)
		return true, nil
	}
	// The one that is broken stays until there is another: half of it may still serve,
	// and the watch goes on trying.
	udp, tcp, err := s.open(ctx, row.Namespace)
	if err != nil {
		return false, err
	}
	l, err := newListener(s, row, udp, tcp)
	if err != nil {
		return false, errors.Join(err, udp.Close(), tcp.Close())
	}
	s.stop(row.Namespace)
	s.listeners[row.Namespace] = l
	l.start(ctx, &s.serving)
	return true, nil
}

// stop closes the listener of a namespace and lets go of its sockets, so that
// nothing here keeps the namespace alive.
func (s *Server) stop(namespace string) {
	if l, ok := s.listeners[namespace]; ok {
		l.close()
		delete(s.listeners, namespace)
		s.counters.release(l.view.Load().counters)
	}
}

// Resync makes exactly the Name and Resolver rows of want true, opens listeners
// that are missing or broken and closes those left over. A second Resync of the
// same state reports nothing. Errors are as Apply's.
func (s *Server) Resync(ctx context.Context, want desired.State) (desired.Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.handedOver {
		return desired.Report{}, errClosed()
	}
	var report desired.Report
	s.resyncNames(want, &report)
	err := s.resyncResolvers(ctx, want, &report)
	s.discardAdopted()
	return report, err
}

func (s *Server) resyncNames(want desired.State, report *desired.Report) {
	now := s.table.Load()
	e := now.edit()
	for row := range now.rows() {
		if _, wanted := want.Get(row.Key()); !wanted {
			e.remove(row)
			note(report, "left over", row)
		}
	}
	for o := range want.Kind(desired.KindName) {
		if row, ok := o.Row.(desired.Name); ok && e.put(row) {
			note(report, "missing or wrong", row)
		}
	}
	if report.Writes > 0 {
		s.table.Store(e.commit())
	}
}

func (s *Server) resyncResolvers(ctx context.Context, want desired.State, report *desired.Report) error {
	for namespace, l := range s.listeners {
		row := l.view.Load().row
		if _, wanted := want.Get(row.Key()); !wanted {
			s.stop(namespace)
			note(report, "left over", row)
		}
	}
	var failures []error
	for o := range want.Kind(desired.KindResolver) {
		row, ok := o.Row.(desired.Resolver)
		if !ok {
			continue
		}
		changed, err := s.serve(ctx, row)
		if err == nil && !changed {
			changed, err = s.restoreRedirect(ctx, s.listeners[row.Namespace])
		}
		if err != nil {
			failures = append(failures, &desired.Failure{Owner: o.Owner, Key: row.Key(), Err: err})
		} else if changed {
			note(report, "missing or wrong", row)
		}
	}
	return errors.Join(failures...)
}

func note(report *desired.Report, what string, row desired.Row) {
	report.Drift = append(report.Drift, what+": "+row.String())
	report.Writes++
}

// Close stops serving, closes every socket and waits until all of the server's
// goroutines have ended. It may be called more than once.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.stopWatch()
	for namespace := range s.listeners {
		s.stop(namespace)
	}
	for _, l := range s.released {
		l.close()
	}
	s.discardAdopted()
	s.forward.close()
	s.serving.Wait()
	s.watching.Wait()
	return nil
}

func errClosed() error {
	return &model.Error{Op: "resolver.apply", Kind: model.Unavailable, Err: errors.New("resolver is closed")}
}
