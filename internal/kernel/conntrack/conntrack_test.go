package conntrack

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if flow, err := parse(b); err == nil && len(flow.ends) > 0 && flow.family != b[0] {
			t.Error("the family is not the message's")
		}
	})
}

// TestFlusher: what is asked for during a round is in the next one, and who
// waits for an address waits for its round.
func TestFlusher(t *testing.T) {
	a, b, c := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	rounds := make(chan struct{})
	f := NewFlusher(func(func() error) error {
		rounds <- struct{}{} // begins
		<-rounds             // may end
		return errors.New("only logged")
	}, slog.New(slog.DiscardHandler))
	f.Forget([]netip.Addr{a})
	<-rounds
	f.Forget([]netip.Addr{b, a})
	f.Forget(nil)
	if err := f.Await(t.Context(), []netip.Addr{c}); err != nil {
		t.Error(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.Await(t.Context(), []netip.Addr{b}) }()
	rounds <- struct{}{}
	<-rounds
	select {
	case err := <-done:
		t.Errorf("did not wait for the second round: %v", err)
	default:
	}
	rounds <- struct{}{}
	if err := <-done; err != nil {
		t.Error(err)
	}
	f.Close()
}
