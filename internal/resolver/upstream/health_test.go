package upstream

import (
	"net/netip"
	"testing"
	"time"
)

func TestSilentServersGetASecondPlace(t *testing.T) {
	var h health
	servers := addrs("192.0.2.1", "192.0.2.2", "192.0.2.3")
	check := func(want ...int) {
		t.Helper()
		got := h.order(servers)
		for i, n := range want {
			if got[i] != servers[n-1] {
				t.Errorf("got %v, want order %v", got, want)
				return
			}
		}
	}
	check(1, 2, 3)
	h.result(servers[1], servers[:1])
	check(1, 2, 3)
	h.result(servers[1], servers[:1])
	check(2, 3, 1)
	h.result(servers[0], nil)
	check(1, 2, 3)
	for i := range 1000 {
		h.result(servers[0], []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})})
	}
	if len(h.states) > maxStates+1 {
		t.Errorf("%d servers are remembered", len(h.states))
	}
}

func TestPatience(t *testing.T) {
	var h health
	server := addrs("192.0.2.1")[0]
	check := func(want time.Duration) {
		t.Helper()
		if got := h.patience(server, time.Second); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	check(time.Second)
	h.measured(server, time.Millisecond)
	check(minPatience)
	for range 100 {
		h.measured(server, 100*time.Millisecond)
	}
	if got := h.patience(server, time.Second); got < 390*time.Millisecond || got > 400*time.Millisecond {
		t.Errorf("got %v after many answers in 100 ms", got)
	}
	for range 100 {
		h.measured(server, 10*time.Second)
	}
	check(time.Second)
}
