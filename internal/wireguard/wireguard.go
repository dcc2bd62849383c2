// Package wireguard applies rows about WireGuard interfaces: who this host is there, and who
// its peers are. The kernel encrypts where it can; where it has no WireGuard, this process
// does, through a TUN interface.
//
//	desired.WireGuard, WireGuardPeer ─▶ Apply ─▶ genetlink ─▶ the kernel's interface
//	                                         ╰─▶ wireguard-go ⇄ TUN interface, UDP socket
//
// It promises:
//
//   - What is not applied carries nothing: an interface that nobody has open drops what is
//     sent through it, and nobody is a peer but who a row names, under one address.
//   - The private key is read from its file when the interface is opened, and told to nobody
//     but whoever encrypts.
//   - An interface that was taken away is taken up again when it is back, within a second.
//   - Without rows there is no goroutine, no socket and no interface.
//
// It must not make interfaces nor give them addresses, and must not know what is sent.
package wireguard

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/linkspan/linkspan/internal/desired"
)

// Namespaces leads into network namespaces.
type Namespaces interface {
	// Do runs f in a namespace.
	Do(ctx context.Context, name string, f func() error) error
	// OpenTUN opens a TUN interface of a namespace that is there already.
	OpenTUN(ctx context.Context, name, link string) (fd int, err error)
	// Identity tells a namespace from others that have its name after it.
	Identity(name string) (string, error)
}

// Options are what a Server is made of.
type Options struct {
	Namespaces Namespaces
	Logger     *slog.Logger
}

// again is how often it is looked whether an interface is still there.
const again = time.Second

// Server applies rows. It is made by New; its methods may be called from any goroutine.
type Server struct {
	opener opener
	work   sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	rows    map[desired.Key]desired.Owned
	tunnels map[place]*tunnel
	stop    context.CancelFunc // ends who looks after them; nil while nobody does
}

// New returns a Server without rows.
func New(o Options) *Server {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{opener: opener{o.Namespaces, conn.NewDefaultBind, log}, rows: map[desired.Key]desired.Owned{}, tunnels: map[place]*tunnel{}}
}

// concerns tells whether a row is one of those that a Server applies.
func concerns(row desired.Row) bool {
	switch row.(type) {
	case desired.WireGuard, desired.WireGuardPeer:
		return true
	}
	return false
}

// Apply follows the deltas; rows of other kinds are ignored. Errors are *desired.Failure
// values, joined.
func (s *Server) Apply(ctx context.Context, deltas []desired.Delta) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	concerned := false
	for _, d := range deltas {
		switch {
		case d.New != nil && concerns(d.New):
			s.rows[d.New.Key()] = desired.Owned{Owner: d.Owner, Row: d.New}
			concerned = true
		case d.New == nil && d.Old != nil && concerns(d.Old):
			delete(s.rows, d.Old.Key())
			concerned = true
		}
	}
	if !concerned {
		return nil
	}
	_, err := s.settleLocked(ctx, false)
	return err
}

// Resync makes everything so, whatever there was before. Errors are as for Apply.
func (s *Server) Resync(ctx context.Context, want desired.State) (desired.Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.rows)
	for o := range want.All() {
		if concerns(o.Row) {
			s.rows[o.Row.Key()] = o
		}
	}
	wrong, err := s.settleLocked(ctx, false)
	return desired.Report{Drift: wrong, Writes: len(wrong)}, err
}

// Check says what Resync would change.
func (s *Server) Check(ctx context.Context, want desired.State) (desired.Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[desired.Key]desired.Owned{}
	for o := range want.All() {
		if concerns(o.Row) {
			wanted[o.Row.Key()] = o
		}
	}
	have := s.rows
	s.rows = wanted
	defer func() { s.rows = have }()
	wrong, err := s.settleLocked(ctx, true)
	return desired.Report{Drift: wrong}, err
}

// Rows returns the rows that are applied, in order.
func (s *Server) Rows() []desired.Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []desired.Row
	for _, key := range slices.SortedFunc(maps.Keys(s.rows), desired.Key.Compare) {
		out = append(out, s.rows[key].Row)
	}
	return out
}

// Release lets go of all interfaces, for a Server in another process: one at a time can have them.
func (s *Server) Release() []desired.Row {
	out := s.Rows()
	s.Close()
	return out
}

// Adopt applies rows that another Server has released. Those of other kinds are ignored.
func (s *Server) Adopt(ctx context.Context, rows []desired.Row) error {
	var deltas []desired.Delta
	for _, row := range rows {
		deltas = append(deltas, desired.Delta{New: row})
	}
	return s.Apply(ctx, deltas)
}

// Close lets go of everything, and has no rows afterwards. The kernel goes on encrypting.
func (s *Server) Close() {
	s.mu.Lock()
	clear(s.rows)
	for at, t := range s.tunnels {
		t.close()
		delete(s.tunnels, at)
	}
	s.restLocked()
	s.mu.Unlock()
	s.work.Wait()
}

// settleLocked has every tunnel follow the rows.
func (s *Server) settleLocked(ctx context.Context, dry bool) (wrong []string, err error) {
	links, peers := map[place]desired.Owned{}, map[place][]desired.WireGuardPeer{}
	for _, key := range slices.SortedFunc(maps.Keys(s.rows), desired.Key.Compare) {
		switch row := s.rows[key].Row.(type) {
		case desired.WireGuard:
			links[place{row.Namespace, row.Link}] = s.rows[key]
		case desired.WireGuardPeer:
			at := place{row.Namespace, row.Link}
			peers[at] = append(peers[at], row)
		}
	}
	for at, t := range s.tunnels {
		if _, wanted := links[at]; wanted {
			continue
		}
		wrong = append(wrong, t.row.String()+": left over")
		if !dry {
			t.close()
			delete(s.tunnels, at)
		}
	}
	var failed []error
	for _, at := range slices.SortedFunc(maps.Keys(links), func(a, b place) int { return strings.Compare(a.namespace+" "+a.link, b.namespace+" "+b.link) }) {
		t := s.tunnels[at]
		if t == nil {
			t = &tunnel{}
		}
		if !dry {
			s.tunnels[at] = t
		}
		lines, err := s.opener.follow(ctx, t, links[at].Row.(desired.WireGuard), peers[at], dry)
		wrong = append(wrong, lines...)
		if err != nil {
			failed = append(failed, &desired.Failure{Owner: links[at].Owner, Key: links[at].Row.Key(), Err: err})
		}
	}
	if !dry {
		s.watchLocked()
	}
	return wrong, errors.Join(failed...)
}

// watchLocked has somebody look after the tunnels while there are any.
func (s *Server) watchLocked() {
	if len(s.tunnels) == 0 {
		s.restLocked()
		return
	}
	if s.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.work.Go(func() { s.watch(ctx) })
}

func (s *Server) restLocked() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// watch takes interfaces up again that were taken away.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTicker(again)
	defer tick.Stop()
	for last := ""; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		said := s.repair(ctx)
		if said != "" && said != last { // a way that stays closed is told of once
			s.opener.log.Warn("the tunnel between hosts was disturbed", "op", "wireguard.repair", "what", said)
		}
		last = said
	}
}

func (s *Server) repair(ctx context.Context) (said string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return ""
	}
	wrong, err := s.settleLocked(ctx, false)
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	return strings.Join(wrong, "; ")
}
