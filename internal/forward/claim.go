package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/model"
)

// reservation is a row that is held, by one socket for each port, or by none: if
// the row has too many ports it is guarded, and if the kernel lacks such sockets
// there is nothing to hold.
type reservation struct {
	row     desired.Reserve
	sockets []*socket
}

// wide tells whether a row has too many ports for a socket each.
func wide(row desired.Reserve) bool { return int(row.Last)-int(row.First) >= maxHeldPorts }

// Claim holds all rows or, with an error, none more than before. Rows that are
// held already are success. If somebody else has a port, or the address is not
// the host's, the error is a *desired.Held.
func (s *Server) Claim(ctx context.Context, rows []desired.Reserve) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.closed || s.away {
		return errClosed()
	}
	var fresh []desired.Key
	for _, row := range rows {
		var changed bool
		err := limits.Retry(ctx, func() (err error) {
			changed, err = s.claim(ctx, row)
			return err
		})
		if err != nil {
			for _, key := range fresh {
				s.unclaim(key)
			}
			return err
		}
		if changed {
			fresh = append(fresh, row.Key())
		}
	}
	return nil
}

// Unclaim lets go of rows; those that are not held are passed over. A port that a
// Forward row still needs stays bound until that goes too.
func (s *Server) Unclaim(_ context.Context, rows []desired.Reserve) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.closed || s.away {
		return errClosed()
	}
	for _, row := range rows {
		if r := s.reserves[row.Key()]; r != nil && r.row == row {
			s.unclaim(row.Key())
		}
	}
	return nil
}

// Claimed returns the rows that are held, in the order of keys; after Release,
// those that were held then.
func (s *Server) Claimed() []desired.Reserve {
	var out []desired.Reserve
	for _, row := range s.Rows() {
		if r, ok := row.(desired.Reserve); ok {
			out = append(out, r)
		}
	}
	return out
}

// claim holds a row and tells whether it was not held before.
func (s *Server) claim(ctx context.Context, row desired.Reserve) (bool, error) {
	if r := s.reserves[row.Key()]; r != nil && r.row == row {
		return false, nil
	}
	if row.First == 0 || row.First > row.Last || !row.Addr.IsValid() {
		return false, model.Errorf(model.Invalid, "invalid ports: %s", row)
	}
	if err := s.free(row); err != nil {
		return false, err
	}
	if wide(row) {
		// Guarded first, so that nobody comes after the look around.
		s.reserves[row.Key()] = &reservation{row: row}
		s.fence()
		if err := s.inspect(ctx, row); err != nil {
			s.unclaim(row.Key())
			return false, err
		}
		return true, nil
	}
	r := &reservation{row: row}
	if err := s.hold(ctx, r); err != nil {
		s.drop(r)
		return false, err
	}
	s.reserves[row.Key()] = r
	return true, nil
}

// free refuses what collides with another reservation of ours that the kernel
// would not notice: one of the two has no sockets.
func (s *Server) free(row desired.Reserve) error {
	if r := s.reserves[row.Key()]; r != nil {
		return inUse(row, row.First, ourselves)
	}
	for _, r := range s.reserves {
		if (wide(row) || wide(r.row)) && row.Collides(r.row) {
			return inUse(row, max(row.First, r.row.First), ourselves)
		}
	}
	return nil
}

// ourselves is who holds what we have reserved already.
const ourselves = "another published port"

func inUse(row desired.Reserve, port uint16, who string) error {
	return &desired.Held{Row: row, Port: port, Who: who, Err: unix.EADDRINUSE}
}

// hold binds every port of a row. With an error some may be bound.
func (s *Server) hold(ctx context.Context, r *reservation) error {
	for port := int(r.row.First); port <= int(r.row.Last); port++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := name{r.row.Protocol, r.row.Addr, uint16(port)}
		if sock := s.sockets[n]; sock != nil && sock.reserved {
			return inUse(r.row, n.port, ourselves)
		}
		sock, err := s.yielded(ctx, n)
		if errors.Is(err, errLacking) {
			continue // nobody else can bind it either
		}
		if err != nil {
			return s.refusal(ctx, r.row, n.port, err)
		}
		sock.reserved = true
		r.sockets = append(r.sockets, sock)
	}
	return nil
}

// yielded returns the socket of a name like Server.socket. If forwards hold the
// port at single addresses because there was no reservation for all, they are
// served anew, on that socket.
func (s *Server) yielded(ctx context.Context, n name) (*socket, error) {
	sock, err := s.socket(n)
	if !errors.Is(err, unix.EADDRINUSE) || !n.addr.IsUnspecified() {
		return sock, err
	}
	var own []*lane
	for _, l := range s.lanes {
		for _, other := range l.sockets {
			if other.name.anywhere() == n && other.name != n && !other.reserved {
				own = append(own, l)
			}
		}
	}
	if len(own) == 0 {
		return nil, err
	}
	for _, l := range own {
		s.unserve(l.row.Key())
	}
	sock, err = s.socket(n)
	for _, l := range own {
		if _, lost := s.serve(context.WithoutCancel(ctx), l.row); lost != nil {
			s.log.Warn("forward is lost until the next repair", "op", "forward.claim", "err", lost)
		}
	}
	return sock, err
}

// refusal says why a port cannot be bound, and who is in the way.
func (s *Server) refusal(ctx context.Context, row desired.Reserve, port uint16, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return inUse(row, port, holder(ctx, row, port))
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return &desired.Held{Row: row, Err: unix.EADDRNOTAVAIL}
	case errors.Is(err, unix.EINVAL): // fe80::1 without an interface
		return &desired.Held{Row: row, Err: unix.EINVAL}
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM): // somebody's policy
		return &desired.Held{Row: row, Port: port, Err: rootCause(err)}
	}
	return fmt.Errorf("%s: %w", row, err)
}

// rootCause returns the system's own error.
func rootCause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// unclaim lets go of a row.
func (s *Server) unclaim(key desired.Key) {
	if r := s.reserves[key]; r != nil {
		delete(s.reserves, key)
		s.drop(r)
		if wide(r.row) {
			s.fence()
		}
	}
}

func (s *Server) drop(r *reservation) {
	for _, sock := range r.sockets {
		sock.reserved = false
		s.dropUnused(sock)
	}
}

// fence guards exactly the wide rows. A host that has no means for that is told
// once, and serves them nevertheless.
func (s *Server) fence() {
	var all []desired.Reserve
	for _, r := range s.reserves {
		if wide(r.row) {
			all = append(all, r.row)
		}
	}
	slices.SortFunc(all, func(a, b desired.Reserve) int { return cmp.Compare(a.Key().Name, b.Key().Name) })
	err := s.guard.Set(all)
	if err != nil && !s.helpless {
		s.log.Warn("published ranges of more than 1 024 ports are not held against other processes, only checked when a container starts: "+
			"that takes Linux 5.14 and a mounted cgroup v2", "op", "forward.claim", "err", err)
	}
	s.helpless = err != nil
}

// inspect refuses a wide row of which somebody has a port. Only sockets that wait
// for others to come count: with so many ports, some are always in use as the near
// end of a connection that the host has made.
func (s *Server) inspect(ctx context.Context, row desired.Reserve) error {
	if row.Protocol == model.SCTP {
		return nil // there is no list of its holders to look through
	}
	all, err := listeners(ctx, row.Protocol)
	if err != nil {
		return fmt.Errorf("%s: %w", row, err)
	}
	suspects := s.suspects(row, all)
	for _, port := range slices.Sorted(maps.Keys(suspects)) {
		file, err := bind(name{row.Protocol, row.Addr, port})
		if errors.Is(err, errLacking) {
			return nil
		}
		if err != nil {
			return s.refusal(ctx, row, port, err)
		}
		_ = file.Close() // it was only a trial
	}
	return nil
}

// suspects returns the ports of a wide row that somebody may have. Its first port
// is always among them: it shows whether the address can be bound at all. Those at
// which forwards of ours were there before their reservation are not: a trial would
// find only ourselves. Who has such a port at another address goes unnoticed.
func (s *Server) suspects(row desired.Reserve, all []entry) map[uint16]bool {
	out := map[uint16]bool{row.First: true}
	for _, e := range all {
		if port := e.local.Port(); row.First <= port && port <= row.Last {
			out[port] = true
		}
	}
	for n := range s.sockets {
		if n.protocol == row.Protocol && n.addr.Is4() == row.Addr.Is4() && overlap(row.Addr, n.addr) {
			delete(out, n.port)
		}
	}
	return out
}
