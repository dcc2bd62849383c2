package resolver

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
)

// redirecting is an Opener whose redirects can be cut.
type redirecting struct {
	*loopback
	mu  sync.Mutex
	now map[string][2]uint16
}

func (r *redirecting) OpenDNS(ctx context.Context, namespace string) (net.PacketConn, net.Listener, error) {
	udp, tcp, err := r.loopback.OpenDNS(ctx, namespace)
	if err == nil {
		r.set(namespace, uint16(udp.LocalAddr().(*net.UDPAddr).Port), uint16(tcp.Addr().(*net.TCPAddr).Port))
	}
	return udp, tcp, err
}

func (r *redirecting) set(namespace string, udp, tcp uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now[namespace] = [2]uint16{udp, tcp}
}

func (r *redirecting) RedirectHolds(_ context.Context, namespace string, udp, tcp uint16) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now[namespace] == [2]uint16{udp, tcp}, nil
}

func (r *redirecting) Redirect(_ context.Context, namespace string, udp, tcp uint16) error {
	r.set(namespace, udp, tcp)
	return nil
}

func TestACutRedirectIsMended(t *testing.T) {
	ctx := context.Background()
	o := &redirecting{loopback: newLoopback(), now: map[string][2]uint16{}}
	s := New(Options{Opener: o})
	t.Cleanup(func() { _ = s.Close() })
	var want desired.State
	want, err := want.Replace("sandbox/one", []desired.Row{desired.Resolver{Namespace: "one"}, desired.Resolver{Namespace: "two"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resync(ctx, want); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Check(ctx, want); err != nil || len(r.Drift) != 0 {
		t.Fatalf("a fresh server: %v, %v", r, err)
	}
	o.set("two", 0, 0)
	if r, _ := s.Check(ctx, want); len(r.Drift) != 1 || !strings.HasPrefix(r.Drift[0], "port 53 is not redirected: resolver two") {
		t.Errorf("check: %q", r.Drift)
	}
	if r, err := s.Resync(ctx, want); err != nil || r.Writes != 1 {
		t.Errorf("resync: %v, %v", r, err)
	}
	if r, err := s.Resync(ctx, want); err != nil || r.Writes != 0 {
		t.Errorf("resync again: %v, %v", r, err)
	}

	// Nobody need ask.
	o.set("one", 0, 0)
	for deadline := time.Now().Add(10 * watchInterval); ; time.Sleep(10 * time.Millisecond) { // poll
		if r, _ := s.Check(ctx, want); len(r.Drift) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the patrol did not mend the redirect")
		}
	}
}

// TestThePatrolHoldsNobodyUp: a server that has handed everything over is drained
// although it has not been closed.
func TestThePatrolHoldsNobodyUp(t *testing.T) {
	s := New(Options{Opener: &redirecting{loopback: newLoopback(), now: map[string][2]uint16{}}})
	t.Cleanup(func() { _ = s.Close() })
	s.Release()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Error(err)
	}
}
