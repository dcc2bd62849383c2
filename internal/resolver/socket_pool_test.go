package resolver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// poolAt is a pool that opens its sockets at o.
func poolAt(o *loopback) *socketPool {
	return &socketPool{open: o.Open, namespace: "box", spare: new(atomic.Int64)}
}

// left are the sockets that were opened and not connected, and are not closed.
func (o *loopback) left() (open int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for f := range o.made {
		if _, err := f.Stat(); err == nil {
			open++
		}
	}
	return open
}

func TestStocksGrowWithDemand(t *testing.T) {
	o := newLoopback()
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
	if want := []int{1, 2, 4, 8, 16, 16}; !slices.Equal(o.visits, want) || len(taken) != 40 {
		t.Errorf("visits for %v sockets, want %v; %d different ones", o.visits, want, len(taken))
	}
	if n := s.spare.Load(); n != 7 {
		t.Errorf("%d spare", n)
	}
	s.expire()
	if n := s.spare.Load(); n != 7 {
		t.Errorf("%d spare when there was a visit of late", n)
	}
	s.expire()
	if spare, left := s.spare.Load(), o.left(); spare != 0 || left != len(taken) {
		t.Errorf("old: %d spare, %d left open, %d of them taken", spare, left, len(taken))
	}
	one, err := s.take(t.Context(), "udp4")
	if err != nil || o.visits[len(o.visits)-1] != 1 {
		t.Fatalf("after a pause: %v, visits %v", err, o.visits)
	}
	one.Close()
	s.close()
	if _, err := s.take(t.Context(), "udp4"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestStocksAreBoundedTogether(t *testing.T) {
	o := newLoopback()
	s := poolAt(o)
	s.spare.Store(maxSpare)
	defer s.close()
	for range 3 {
		socket, err := s.take(t.Context(), "udp6")
		if err != nil {
			t.Fatal(err)
		}
		socket.Close()
	}
	if !slices.Equal(o.visits, []int{1, 1, 1}) {
		t.Errorf("visits for %v sockets", o.visits)
	}
}

func TestStocksAtManyHands(t *testing.T) {
	o := newLoopback()
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
					s.close()
				}
			}
		})
	}
	all.Wait()
	if spare, left := s.spare.Load(), o.left(); spare != 0 || left != 0 || len(taken) < 300 {
		t.Errorf("%d taken, %d spare, %d left open", len(taken), spare, left)
	}
}

// TestNothingIsLeftInASandbox: neither a pool nor a query that is out keeps a
// namespace alive.
func TestNothingIsLeftInASandbox(t *testing.T) {
	o := newLoopback()
	var dead atomic.Bool
	o.upstream(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
		if !dead.Load() {
			says("one")(w, q)
		}
	})
	s := serverFor(t, o)
	row := resolverOn("net")
	row.Servers = addrs("192.0.2.1")
	apply(t, s, wanted(row))
	for i := range 9 { // 1 + 2 + 4, and 2 of 8
		ask(t, o, "udp", fmt.Sprint("x", i, ".test"), dns.TypeTXT)
	}
	if spare, left := s.forward.spare.Load(), o.left(); spare != 6 || left != 6 {
		t.Fatalf("%d spare, %d open", spare, left)
	}
	dead.Store(true)
	conn, err := dns.Dial("udp4", o.udp["box"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.WriteMsg(new(dns.Msg).SetQuestion("late.test.", dns.TypeTXT))
	await(t, "a query is out", func() bool { return s.forward.sockets.Inside() == 1 })
	apply(t, s, unwanted(row))
	if spare, left := s.forward.spare.Load(), o.left(); spare != 0 || left != 0 {
		t.Errorf("when the sandbox is gone: %d spare, %d open", spare, left)
	}
	await(t, "the query is given up", func() bool {
		return s.forward.sockets.Inside() == 0 && s.forward.total.Inside() == 0
	})
}
