// Package hostports reserves ports of the host (bind) against its other processes.
//
//	desired.Reserve -> Reserve -> one bound socket per port, which drops everything;
//	                              for more than 1 024 ports a guard of bind(2)
//
// It promises:
//
//   - While a reservation is held nobody else can bind its ports, and what reaches
//     them gets no answer at all, unless the proxy serves it (package userproxy).
//   - Reservations of more than 1 024 ports have no sockets: a program in the kernel
//     refuses others instead, see package bindguard for what it does not see. Where
//     that cannot be had, which is logged, their ports must be free when they are
//     reserved, and after that nothing holds them. For SCTP they are not even looked
//     through.
//   - What the kernel lacks, a family or SCTP, is no failure: nobody can bind there.
//   - All sockets can be handed to a successor in another process; what arrives in
//     between waits in them.
//
// It must not choose ports, must not know who wants a row or why, and must not touch
// the firewall. It works in the network namespace of the process.
package hostports

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/hostports/bindguard"
	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/portsocket"
)

// Proxy is who else has sockets in the table.
type Proxy interface {
	// StepAside lets go of the sockets at single addresses of an endpoint's port, and
	// returns what serves there again, on whatever is bound by then; nil if there are
	// none. The caller has the table's lock.
	StepAside(ctx context.Context, e portsocket.Endpoint) (serveAgain func())
}

// Options is what a Reserver needs.
type Options struct {
	Logger  *slog.Logger // nil discards
	Sockets *portsocket.Table
	Proxy   Proxy // nil: nobody
	// Cgroup is the folder of cgroup v2 whose processes large reservations are held
	// against; empty is the root of the hierarchy that is mounted.
	Cgroup string
}

// Reserver holds the reservations of a host. It is made by New.
type Reserver struct {
	log     *slog.Logger
	sockets *portsocket.Table // its lock guards what follows
	proxy   Proxy
	guard   *bindguard.Guard
	rows    map[desired.Key]*reservation

	guardUnavailable bool // the last attempt to guard reservations failed
	handedOver       bool
	left             []desired.Reserve // what was held then
}

// reservation is a row that is held, by one socket for each port, or by none: if
// the row has too many ports it is guarded, and if the kernel lacks such sockets
// there is nothing to hold.
type reservation struct {
	row     desired.Reserve
	sockets []*portsocket.Socket
}

// New returns a Reserver that holds nothing yet.
func New(o Options) *Reserver {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Reserver{
		log: log, sockets: o.Sockets, proxy: o.Proxy, guard: bindguard.New(bindguard.Options{Cgroup: o.Cgroup}),
		rows: map[desired.Key]*reservation{},
	}
}

// wide tells whether a row has too many ports for a socket each.
func wide(row desired.Reserve) bool { return int(row.Last)-int(row.First) >= portsocket.MaxRange }

// Reserve holds all rows or, with an error, none more than before. Rows that are
// held already are success. If somebody else has a port, or the address is not
// the host's, the error is a *desired.PortTaken.
func (r *Reserver) Reserve(ctx context.Context, rows []desired.Reserve) error {
	r.sockets.Lock()
	defer r.sockets.Unlock()
	if err := r.sockets.Err(); err != nil {
		return err
	}
	var fresh []desired.Key
	for _, row := range rows {
		var changed bool
		err := limits.Retry(ctx, func() (err error) {
			changed, err = r.reserve(ctx, row)
			return err
		})
		if err != nil {
			for _, key := range fresh {
				r.release(key)
			}
			return err
		}
		if changed {
			fresh = append(fresh, row.Key())
		}
	}
	return nil
}

// Release lets go of rows; those that are not held are passed over. A port that a
// Forward row still needs stays bound until that goes too.
func (r *Reserver) Release(_ context.Context, rows []desired.Reserve) error {
	r.sockets.Lock()
	defer r.sockets.Unlock()
	if err := r.sockets.Err(); err != nil {
		return err
	}
	for _, row := range rows {
		if held := r.rows[row.Key()]; held != nil && held.row == row {
			r.release(row.Key())
		}
	}
	return nil
}

// Reserved returns the rows that are held, in the order of keys; after HandOver,
// those that were held then.
func (r *Reserver) Reserved() []desired.Reserve {
	r.sockets.Lock()
	defer r.sockets.Unlock()
	if r.handedOver {
		return slices.Clone(r.left)
	}
	return r.reserved()
}

func (r *Reserver) reserved() []desired.Reserve {
	var out []desired.Reserve
	for _, held := range r.rows {
		out = append(out, held.row)
	}
	slices.SortFunc(out, func(a, b desired.Reserve) int { return a.Key().Compare(b.Key()) })
	return out
}

// HandOver gives away every socket of the table. The proxy must have handed over what
// it has before. A Reserver takes no rows then until Adopt is called; until Drain it
// goes on guarding what it had.
func (r *Reserver) HandOver() []portsocket.Handed {
	r.sockets.Lock()
	defer r.sockets.Unlock()
	if r.sockets.Err() != nil {
		return nil
	}
	r.left, r.handedOver = r.reserved(), true
	clear(r.rows)
	return r.sockets.HandOver()
}

// Drain says that a successor guards what has to be.
func (r *Reserver) Drain() error {
	r.sockets.Lock()
	defer r.sockets.Unlock()
	return r.guard.Close()
}

// Adopt takes over the sockets that another Reserver handed over, and makes the
// Reserve rows among rows true, with exactly these sockets. A Reserver that has handed
// them over itself may adopt them again, if nobody else did. Reservations without
// sockets are taken on as they are. What cannot be held is in the error as
// *desired.Failure, and the rest is held nevertheless. It returns the sockets that
// are the proxy's to adopt, next.
func (r *Reserver) Adopt(ctx context.Context, handed []portsocket.Handed, rows []desired.Row) ([]portsocket.Handed, error) {
	r.sockets.Lock()
	defer r.sockets.Unlock()
	others, err := r.sockets.Adopt(handed)
	if err != nil {
		return nil, err
	}
	r.left, r.handedOver = nil, false
	var failures []error
	for _, row := range rows {
		if row, ok := row.(desired.Reserve); !ok {
			continue
		} else if wide(row) {
			r.rows[row.Key()] = &reservation{row: row} // guarded below, once for all
		} else if _, err := r.reserve(ctx, row); err != nil {
			failures = append(failures, &desired.Failure{Key: row.Key(), Err: err})
		}
	}
	r.syncGuard()
	return others, errors.Join(failures...)
}

// Close lets go of everything. It may be called more than once.
func (r *Reserver) Close() error {
	r.sockets.Lock()
	defer r.sockets.Unlock()
	r.sockets.Close()
	for key := range r.rows {
		r.release(key)
	}
	return r.guard.Close()
}

// reserve holds a row and tells whether it was not held before.
func (r *Reserver) reserve(ctx context.Context, row desired.Reserve) (bool, error) {
	if held := r.rows[row.Key()]; held != nil && held.row == row {
		return false, nil
	}
	if row.First == 0 || row.First > row.Last || !row.Addr.IsValid() {
		return false, model.Errorf(model.Invalid, "invalid ports: %s", row)
	}
	if err := r.free(row); err != nil {
		return false, err
	}
	if wide(row) {
		// Guarded first, so that nobody comes after the look around.
		r.rows[row.Key()] = &reservation{row: row}
		r.syncGuard()
		if err := r.checkFree(ctx, row); err != nil {
			r.release(row.Key())
			return false, err
		}
		return true, nil
	}
	held := &reservation{row: row}
	if err := r.bind(ctx, held); err != nil {
		r.unbind(held)
		return false, err
	}
	r.rows[row.Key()] = held
	return true, nil
}

// free refuses what collides with another reservation of ours that the kernel
// would not notice: one of the two has no sockets.
func (r *Reserver) free(row desired.Reserve) error {
	if r.rows[row.Key()] != nil {
		return inUse(row, row.First, ourselves)
	}
	for _, held := range r.rows {
		if (wide(row) || wide(held.row)) && row.Collides(held.row) {
			return inUse(row, max(row.First, held.row.First), ourselves)
		}
	}
	return nil
}

// ourselves is who holds what we have reserved already.
const ourselves = "another published port"

func inUse(row desired.Reserve, port uint16, who string) error {
	return &desired.PortTaken{Row: row, Port: port, Who: who, Err: unix.EADDRINUSE}
}

// bind binds every port of a row. With an error some may be bound.
func (r *Reserver) bind(ctx context.Context, held *reservation) error {
	row := held.row
	for port := int(row.First); port <= int(row.Last); port++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := portsocket.Endpoint{Protocol: row.Protocol, Addr: row.Addr, Port: uint16(port)}
		if sock := r.sockets.Find(e); sock != nil && sock.Reserved {
			return inUse(row, e.Port, ourselves)
		}
		sock, err := r.takeOver(ctx, e)
		if errors.Is(err, portsocket.ErrUnsupported) {
			continue // nobody else can bind it either
		}
		if err != nil {
			return refusal(ctx, row, e.Port, err)
		}
		sock.Reserved = true
		held.sockets = append(held.sockets, sock)
	}
	return nil
}

// takeOver returns the socket at an endpoint like Table.Open. If the proxy has the
// port at single addresses because there was no reservation for all, it serves them
// anew, on that socket.
func (r *Reserver) takeOver(ctx context.Context, e portsocket.Endpoint) (*portsocket.Socket, error) {
	sock, err := r.sockets.Open(e)
	if !errors.Is(err, unix.EADDRINUSE) || !e.Addr.IsUnspecified() || r.proxy == nil {
		return sock, err
	}
	serveAgain := r.proxy.StepAside(ctx, e)
	if serveAgain == nil {
		return nil, err
	}
	defer serveAgain()
	return r.sockets.Open(e)
}

// refusal says why a port cannot be bound, and who is in the way.
func refusal(ctx context.Context, row desired.Reserve, port uint16, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return inUse(row, port, holder(ctx, row, port))
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return &desired.PortTaken{Row: row, Err: unix.EADDRNOTAVAIL}
	case errors.Is(err, unix.EINVAL): // fe80::1 without an interface
		return &desired.PortTaken{Row: row, Err: unix.EINVAL}
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM): // somebody's policy
		return &desired.PortTaken{Row: row, Port: port, Err: rootCause(err)}
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

// release lets go of a row.
func (r *Reserver) release(key desired.Key) {
	if held := r.rows[key]; held != nil {
		delete(r.rows, key)
		r.unbind(held)
		if wide(held.row) {
			r.syncGuard()
		}
	}
}

func (r *Reserver) unbind(held *reservation) {
	for _, sock := range held.sockets {
		sock.Reserved = false
		r.sockets.CloseUnused(sock)
	}
}

// syncGuard guards exactly the wide rows. A host that has no means for that is told
// once, and serves them nevertheless.
func (r *Reserver) syncGuard() {
	var all []desired.Reserve
	for _, held := range r.rows {
		if wide(held.row) {
			all = append(all, held.row)
		}
	}
	slices.SortFunc(all, func(a, b desired.Reserve) int { return cmp.Compare(a.Key().Name, b.Key().Name) })
	err := r.guard.Set(all)
	if err != nil && !r.guardUnavailable {
		r.log.Warn("published ranges of more than 1 024 ports are not held against other processes, only checked when a container starts: "+
			"that takes Linux 5.14 and a mounted cgroup v2", "op", "forward.claim", "err", err)
	}
	r.guardUnavailable = err != nil
}

// checkFree refuses a wide row of which somebody has a port. Only sockets that wait
// for others to come count: with so many ports, some are always in use as the near
// end of a connection that the host has made.
func (r *Reserver) checkFree(ctx context.Context, row desired.Reserve) error {
	if row.Protocol == model.SCTP {
		return nil // there is no list of its holders to look through
	}
	all, err := listeners(ctx, row.Protocol)
	if err != nil {
		return fmt.Errorf("%s: %w", row, err)
	}
	maybeTaken := r.maybeTaken(row, all)
	for _, port := range slices.Sorted(maps.Keys(maybeTaken)) {
		sock, err := portsocket.Listen(portsocket.Endpoint{Protocol: row.Protocol, Addr: row.Addr, Port: port})
		if errors.Is(err, portsocket.ErrUnsupported) {
			return nil
		}
		if err != nil {
			return refusal(ctx, row, port, err)
		}
		sock.Close() // it was only a trial
	}
	return nil
}

// maybeTaken returns the ports of a wide row that somebody may have. Its first port
// is always among them: it shows whether the address can be bound at all. Those at
// which proxies of ours were there before their reservation are not: a trial would
// find only ourselves. Who has such a port at another address goes unnoticed.
func (r *Reserver) maybeTaken(row desired.Reserve, all []entry) map[uint16]bool {
	out := map[uint16]bool{row.First: true}
	for _, e := range all {
		if port := e.local.Port(); row.First <= port && port <= row.Last {
			out[port] = true
		}
	}
	for sock := range r.sockets.All() {
		if sock.Protocol == row.Protocol && sock.Addr.Is4() == row.Addr.Is4() && overlap(row.Addr, sock.Addr) {
			delete(out, sock.Port)
		}
	}
	return out
}
