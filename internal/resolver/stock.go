package resolver

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
	// maxStock is how many sockets a visit to a namespace opens at most. A visit
	// costs as much as five sockets.
	maxStock = 16
	// maxSpare bounds the sockets of all stocks that wait to be used. At the bound
	// a visit opens the one that is needed.
	maxSpare = 4096
	// stockAge is how long a stock lasts that nobody adds to.
	stockAge = 10 * time.Second
)

// stock is UDP sockets of one namespace that were never used. Each is for one
// query: it gets a port when it is taken. Who asks seldom has no stock, since
// each visit within stockAge opens twice as many as the one before.
type stock struct {
	open      func(ctx context.Context, namespace, network string, count int) ([]*os.File, error)
	namespace string
	spare     *atomic.Int64 // sockets of all stocks

	mu     sync.Mutex // held during a visit: who comes then takes of what it brings
	free   map[string][]*os.File
	visits map[string]int // to get so many at the latest visit, by network
	fresh  bool           // there was a visit since the last look
	expiry *time.Timer
	closed bool
}

// take returns a socket of a network, "udp4" or "udp6". It is the caller's.
func (s *stock) take(ctx context.Context, network string) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, net.ErrClosed
	}
	if len(s.free[network]) == 0 {
		if err := s.fillLocked(ctx, network); err != nil {
			return nil, err
		}
	}
	last := len(s.free[network]) - 1
	socket := s.free[network][last]
	s.free[network] = s.free[network][:last]
	s.spare.Add(-1)
	return socket, nil
}

func (s *stock) fillLocked(ctx context.Context, network string) error {
	if s.free == nil {
		s.free, s.visits = map[string][]*os.File{}, map[string]int{}
	}
	count := min(max(1, 2*s.visits[network]), maxStock)
	if s.spare.Load()+int64(count) > min(maxSpare, limits.OneIn(filesOfSpare)()) {
		count = 1
	}
	sockets, err := s.open(ctx, s.namespace, network, count)
	if err != nil {
		return err
	}
	s.free[network], s.visits[network], s.fresh = append(s.free[network], sockets...), count, true
	s.spare.Add(int64(len(sockets)))
	if s.expiry == nil {
		s.expiry = time.AfterFunc(stockAge, s.expire)
	}
	return nil
}

// expire empties a stock that nobody has added to for stockAge. Its sockets are
// at most twice as old.
func (s *stock) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
	case s.fresh:
		s.fresh = false
		s.expiry.Reset(stockAge)
	default:
		s.emptyLocked()
		s.expiry = nil
	}
}

// emptyLocked closes all sockets and forgets how many were in demand. Errors have
// no consequence: nothing was sent.
func (s *stock) emptyLocked() {
	for _, sockets := range s.free {
		for _, socket := range sockets {
			_ = socket.Close()
		}
		s.spare.Add(-int64(len(sockets)))
	}
	s.free, s.visits = nil, nil
}

// close lets go of the namespace. What was taken is for its taker to close.
func (s *stock) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.emptyLocked()
	if s.expiry != nil {
		s.expiry.Stop()
	}
}
