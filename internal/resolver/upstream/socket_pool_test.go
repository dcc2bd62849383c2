package upstream

import (
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

// poolAt is a pool that opens its sockets at o.
func poolAt(o *upstreamtest.Net) *SocketPool {
	return &SocketPool{opener: o, namespace: "box", spare: new(atomic.Int64)}
}

func TestPoolsGrowWithDemand(t *testing.T) {
	o := upstreamtest.New()
	s := poolAt(o)
	taken := map[*os.File]bool{}
	for range 40 {
		socket, err := s.take(t.Context(), "udp4")
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		taken[socket] = true
	}
	if want := []int{1, 2, 4, 8, 16, 16}; !slices.Equal(o.Visits(), want) || len(taken) != 40 {
		t.Errorf("visits for %v sockets, want %v; %d different ones", o.Visits(), want, len(taken))
	}
	if n := s.spare.Load(); n != 7 {
		t.Errorf("%d spare", n)
	}
	s.expire()
	if n := s.spare.Load(); n != 7 {
		t.Errorf("%d spare when there was a visit of late", n)
	}
	s.expire()
	if spare, left := s.spare.Load(), o.Left(); spare != 0 || left != len(taken) {
		t.Errorf("old: %d spare, %d left open, %d of them taken", spare, left, len(taken))
	}
	one, err := s.take(t.Context(), "udp4")
	if err != nil || o.Visits()[len(o.Visits())-1] != 1 {
		t.Fatalf("after a pause: %v, visits %v", err, o.Visits())
	}
	one.Close()
	s.Close()
	if _, err := s.take(t.Context(), "udp4"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestPoolsAreBoundedTogether(t *testing.T) {
	o := upstreamtest.New()
	s := poolAt(o)
	s.spare.Store(maxSpare)
	defer s.Close()
	for range 3 {
		socket, err := s.take(t.Context(), "udp6")
		if err != nil {
			t.Fatal(err)
		}
		socket.Close()
	}
	if !slices.Equal(o.Visits(), []int{1, 1, 1}) {
		t.Errorf("visits for %v sockets", o.Visits())
	}
}

func TestPoolsUsedByMany(t *testing.T) {
	o := upstreamtest.New()
	s := poolAt(o)
	var mu sync.Mutex
	taken := map[*os.File]bool{}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 20 {
				socket, err := s.take(t.Context(), "udp4")
				if errors.Is(err, net.ErrClosed) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if taken[socket] {
					t.Error("a socket was handed out twice")
				}
				taken[socket] = true
				last := len(taken) == 300
				mu.Unlock()
				socket.Close()
				if last {
					s.Close()
				}
			}
		})
	}
	all.Wait()
	if spare, left := s.spare.Load(), o.Left(); spare != 0 || left != 0 || len(taken) < 300 {
		t.Errorf("%d taken, %d spare, %d left open", len(taken), spare, left)
	}
}
