// Package announce tells the neighbours of a container which MAC address its
// addresses have: by gratuitous ARP (RFC 5227 section 2.3) and unsolicited Neighbor
// Advertisements (RFC 4861 section 7.2.6), sent from inside the container's namespace
// by its own interface, as many and as often as a desired.Announce says.
//
// It must not hold up whoever asks: all of it goes on beside. It keeps a socket in a
// namespace no longer than it sends, and gives it up as soon as the row is gone.
//
// What has gone wrong here: closing a packet socket waits for the kernel's readers,
// which takes tens of milliseconds. So there is one for all messages of an endpoint.
package announce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
)

// maxAtOnce bounds the endpoints that are being announced: each has a socket. Others
// wait, since a burst of starts must not take all descriptors.
const maxAtOnce = 256

// Visit runs f on a thread inside the named namespace.
type Visit func(ctx context.Context, namespace string, f func() error) error

// Announcer announces rows. Its methods may be called from any goroutine.
type Announcer struct {
	visit Visit
	log   *slog.Logger

	ctx    context.Context // of all that goes on
	stop   context.CancelFunc
	work   sync.WaitGroup
	places chan struct{}
	wake   chan struct{} // something was queued

	mu    sync.Mutex // guards the fields below
	known map[desired.Key]*job
	queue []*job
}

// job is the messages of one row.
type job struct {
	row    desired.Announce
	times  int
	ctx    context.Context // ends with the row
	cancel context.CancelFunc
}

// New returns an Announcer. The caller closes it.
func New(visit Visit, log *slog.Logger) *Announcer {
	a := &Announcer{visit: visit, log: log, places: make(chan struct{}, maxAtOnce), wake: make(chan struct{}, 1), known: map[desired.Key]*job{}}
	a.ctx, a.stop = context.WithCancel(context.Background())
	a.work.Go(a.dispatch)
	return a
}

// Close ends all announcements.
func (a *Announcer) Close() {
	a.stop()
	a.work.Wait()
}

// Put begins to announce a row, unless it is known already.
func (a *Announcer) Put(row desired.Announce) { a.put(row, row.Count) }

// Drop ends what is announced of a row, and forgets it.
func (a *Announcer) Drop(row desired.Announce) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dropLocked(row.Key())
}

func (a *Announcer) dropLocked(key desired.Key) {
	if j, known := a.known[key]; known {
		j.cancel()
		delete(a.known, key)
	}
}

// Follow is for all rows that are wanted: what is not known was there before this
// process, and is announced once.
func (a *Announcer) Follow(rows []desired.Announce) {
	wanted := map[desired.Key]bool{}
	for _, row := range rows {
		wanted[row.Key()] = true
		a.put(row, 1)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for key := range a.known {
		if !wanted[key] {
			a.dropLocked(key)
		}
	}
}

func (a *Announcer) put(row desired.Announce, times int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if j, known := a.known[row.Key()]; known && j.row.String() == row.String() {
		return
	}
	a.dropLocked(row.Key())
	j := &job{row: row, times: times}
	j.ctx, j.cancel = context.WithCancel(a.ctx)
	a.known[row.Key()] = j
	a.queue = append(a.queue, j)
	select {
	case a.wake <- struct{}{}:
	default: // it is awake
	}
}

// dispatch gives jobs a place, in order.
func (a *Announcer) dispatch() {
	for {
		j := a.next()
		if j == nil {
			select {
			case <-a.wake:
				continue
			case <-a.ctx.Done():
				return
			}
		}
		select {
		case a.places <- struct{}{}:
		case <-a.ctx.Done():
			return
		}
		a.work.Go(func() {
			defer func() { <-a.places }()
			a.run(j)
		})
	}
}

func (a *Announcer) next() *job {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.queue) > 0 {
		j := a.queue[0]
		a.queue = a.queue[1:]
		if j.ctx.Err() == nil {
			return j
		}
	}
	a.queue = nil
	return nil
}

// run sends the messages of one row. That neighbours are not told is no fault of the
// endpoint's: they ask.
func (a *Announcer) run(j *job) {
	defer j.cancel()
	err := a.send(j)
	if err != nil && j.ctx.Err() == nil {
		a.log.Debug("addresses not announced", "op", "announce", "container", j.row.Namespace, "link", j.row.Link, "err", err)
	}
}

func (a *Announcer) send(j *job) error {
	mac, err := net.ParseMAC(j.row.MAC)
	if err != nil {
		return err
	}
	var s *sender
	err = a.visit(j.ctx, j.row.Namespace, func() (err error) {
		s, err = open(j.row.Link)
		return err
	})
	if err != nil {
		return err
	}
	defer s.close()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for range j.times {
		select {
		case <-pause.C:
		case <-j.ctx.Done():
			return j.ctx.Err()
		}
		if have, err := s.mac(); err != nil || have.String() != mac.String() {
			return errors.Join(fmt.Errorf("%s has MAC address %s instead of %s", j.row.Link, have, mac), err)
		}
		for _, addr := range j.row.Addrs {
			if err := s.send(frame(mac, addr.Unmap())); err != nil {
				return err
			}
		}
		pause.Reset(j.row.Every)
	}
	return nil
}

// sender is a packet socket on one interface. It receives nothing.
type sender struct{ fd int }

// open is called on a thread in the namespace of the interface.
func open(link string) (*sender, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	s := &sender{fd}
	request, err := unix.NewIfreq(link)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	}
	if err == nil { // with no protocol: nothing is received
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: int(request.Uint32())})
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("find interface %s: %w", link, err)
	}
	return s, nil
}

func (s *sender) close() { unix.Close(s.fd) }

// mac reads the interface's present MAC address.
func (s *sender) mac() (net.HardwareAddr, error) {
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return nil, err
	}
	link, ok := name.(*unix.SockaddrLinklayer)
	if !ok || int(link.Halen) > len(link.Addr) {
		return nil, unix.EINVAL
	}
	return link.Addr[:link.Halen], nil
}

func (s *sender) send(frame []byte) error {
	_, err := unix.Write(s.fd, frame)
	return err
}
