package upstream

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/internal/limits"
)

const (
	// maxOpened is how many sockets a visit to a namespace opens at most. A visit
	// costs as much as five sockets.
	maxOpened = 16
	// maxSpare bounds the sockets of all pools that wait to be used. At the bound
	// a visit opens the one that is needed.
	maxSpare = 4096
	// poolAge is how long a pool lasts that nobody adds to.
	poolAge = 10 * time.Second
	// filesOfSpare is what spare sockets take of the descriptors that the process may
	// have at most: one part in so many.
	filesOfSpare = 32
)

// SocketPool is UDP sockets of one namespace that were never used. Each is for one
// query: it gets a port when it is taken. Who asks seldom has no pool, since
// each visit within poolAge opens twice as many as the one before.
type SocketPool struct {
	opener    Opener
	namespace string
	spare     *atomic.Int64 // sockets of all pools

	mu         sync.Mutex // held during a visit: who comes then takes of what it brings
	unused     map[string][]*os.File
	lastOpened map[string]int // to get so many at the latest visit, by network
	filled     bool           // there was a visit since the last look
	expiry     *time.Timer
	closed     bool
}

// NewPool returns a pool of a namespace, which is closed when the namespace goes.
func (u *Client) NewPool(namespace string) *SocketPool {
	return &SocketPool{opener: u.Opener, namespace: namespace, spare: &u.spare}
}

// Spare is how many sockets wait in all pools of the Client.
func (u *Client) Spare() int64 { return u.spare.Load() }

// take returns a socket of a network, "udp4" or "udp6". It is the caller's.
func (s *SocketPool) take(ctx context.Context, network string) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, net.ErrClosed
	}
	if len(s.unused[network]) == 0 {
		if err := s.fillLocked(ctx, network); err != nil {
			return nil, err
		}
	}
	last := len(s.unused[network]) - 1
	socket := s.unused[network][last]
	s.unused[network] = s.unused[network][:last]
	s.spare.Add(-1)
	return socket, nil
}

func (s *SocketPool) fillLocked(ctx context.Context, network string) error {
	if s.unused == nil {
		s.unused, s.lastOpened = map[string][]*os.File{}, map[string]int{}
	}
	count := min(max(1, 2*s.lastOpened[network]), maxOpened)
	if s.spare.Load()+int64(count) > min(maxSpare, limits.OneIn(filesOfSpare)()) {
		count = 1
	}
	sockets, err := s.opener.Open(ctx, s.namespace, network, count)
	if err != nil {
		return err
	}
	s.unused[network], s.lastOpened[network], s.filled = append(s.unused[network], sockets...), count, true
	s.spare.Add(int64(len(sockets)))
	if s.expiry == nil {
		s.expiry = time.AfterFunc(poolAge, s.expire)
	}
	return nil
}

// expire empties a pool that nobody has added to for poolAge. Its sockets are
// at most twice as old.
func (s *SocketPool) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
	case s.filled:
		s.filled = false
		s.expiry.Reset(poolAge)
	default:
		s.emptyLocked()
		s.expiry = nil
	}
}

// emptyLocked closes all sockets and forgets how many were in demand. Errors have
// no consequence: nothing was sent.
func (s *SocketPool) emptyLocked() {
	for _, sockets := range s.unused {
		for _, socket := range sockets {
			_ = socket.Close()
		}
		s.spare.Add(-int64(len(sockets)))
	}
	s.unused, s.lastOpened = nil, nil
}

// Close lets go of the namespace. What was taken is for its taker to close.
func (s *SocketPool) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.emptyLocked()
	if s.expiry != nil {
		s.expiry.Stop()
	}
}
