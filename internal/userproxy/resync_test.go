package userproxy

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

func resync(t testing.TB, s *serverWithPorts, want desired.State) []string {
	t.Helper()
	seen, err := s.Check(t.Context(), want)
	if err != nil {
		t.Fatalf("Check: %v", err)
	}
	done, err := s.Resync(t.Context(), want)
	if err != nil {
		t.Fatalf("Resync: %v", err)
	}
	slices.Sort(seen.Drift)
	slices.Sort(done.Drift)
	if !slices.Equal(seen.Drift, done.Drift) || done.Writes != len(done.Drift) || seen.Writes != 0 {
		t.Errorf("Check says %q, Resync %q with %d writes", seen.Drift, done.Drift, done.Writes)
	}
	return done.Drift
}

// TestResync: proxies become as wanted, reservations stay what was reserved.
func TestResync(t *testing.T) {
	s := start(t)
	target := listen(t, "127.0.0.1:0", echo)
	hold(t, s, reserve(model.TCP, "::", 7000, 7009))
	hold(t, s, reserve(model.UDP, "::", 10000, 20000))
	proxied := to(model.TCP, "::1", 7000, 7009, target)
	proxied.ToFirst -= 5
	other := proxied
	other.ToFirst += 2
	second := to(model.TCP, "::1", 7100, 7100, target)
	for _, step := range []struct {
		want  []desired.Row
		drift []string
	}{
		{nil, nil},
		{[]desired.Row{proxied, second}, []string{"missing or wrong: " + proxied.String(), "missing or wrong: " + second.String()}},
		{[]desired.Row{proxied, second}, nil},
		{[]desired.Row{other}, []string{"left over: " + second.String(), "missing or wrong: " + other.String()}},
		{[]desired.Row{proxied}, []string{"missing or wrong: " + proxied.String()}},
		{nil, []string{"left over: " + proxied.String()}},
	} {
		want := stateOf(t, step.want...)
		if got := resync(t, s, want); !slices.Equal(got, sorted(step.drift)) {
			t.Errorf("drift %q, want %q", got, step.drift)
		}
		if slices.Contains(step.want, desired.Row(proxied)) {
			talk(t, dial(t, "[::1]:7005"), "x")
		}
		if again := resync(t, s, want); len(again) > 0 {
			t.Errorf("a second time: %q", again)
		}
	}
	if s.table.Len() != 10 || len(s.ports.Reserved()) != 2 {
		t.Errorf("%d sockets for %v", s.table.Len(), s.ports.Reserved())
	}
}

func sorted(lines []string) []string {
	out := slices.Clone(lines)
	slices.Sort(out)
	return out
}

// TestReserveAfterProxy: a proxy serves while its reservation cannot be had, and
// the reservation takes its sockets on as soon as the other one is gone.
func TestReserveAfterProxy(t *testing.T) {
	s := start(t)
	l, err := net.Listen("tcp6", "[::]:7003")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	row, proxied := reserve(model.TCP, "::", 7000, 7005), to(model.TCP, "::1", 7000, 7001, listen(t, "127.0.0.1:0", echo))
	proxied.ToFirst--
	want := stateOf(t, row, proxied)
	if drift := resync(t, s, want); len(drift) != 1 || !strings.Contains(drift[0], "forward") {
		t.Errorf("drift %q", drift)
	}
	var held *desired.PortTaken
	if err := s.ports.Reserve(t.Context(), []desired.Reserve{row}); !errors.As(err, &held) || held.Who != self(t) {
		t.Errorf("Reserve: %v", err)
	}
	talk(t, dial(t, "[::1]:7001"), "x")
	l.Close()
	hold(t, s, row)
	talk(t, dial(t, "[::1]:7001"), "x")
	if s.table.Len() != 6 {
		t.Errorf("%d sockets, want one for each reserved port", s.table.Len())
	}
	if drift := resync(t, s, want); len(drift) != 0 {
		t.Errorf("drift %q", drift)
	}
}

// TestApplyLeavesReservationsAlone: they come before the commit and go after it.
func TestApplyLeavesReservationsAlone(t *testing.T) {
	s := start(t)
	row := reserve(model.TCP, "::", 7000)
	apply(t, s, wanted(row))
	if len(s.ports.Reserved()) > 0 {
		t.Error("Apply has reserved")
	}
	hold(t, s, row)
	apply(t, s, unwanted(row))
	if len(s.ports.Reserved()) != 1 {
		t.Error("Apply has let go")
	}
}

// TestProxyOutlivesItsReservation: it keeps the socket, until it goes too.
func TestProxyOutlivesItsReservation(t *testing.T) {
	s := start(t)
	row, proxied := reserve(model.TCP, "::", 7000), to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", echo))
	hold(t, s, row)
	apply(t, s, wanted(proxied))
	if err := s.ports.Release(t.Context(), []desired.Reserve{row}); err != nil {
		t.Fatal(err)
	}
	talk(t, dial(t, "[::1]:7000"), "x")
	hold(t, s, row)
	if s.table.Len() != 1 {
		t.Errorf("%d sockets", s.table.Len())
	}
	if err := s.ports.Release(t.Context(), []desired.Reserve{row}); err != nil {
		t.Fatal(err)
	}
	apply(t, s, unwanted(proxied))
	if err := tryBind("tcp6", "[::1]:7000"); err != nil {
		t.Error(err)
	}
}

// TestManyAtOnce: reservations, rows, resyncs and looks from all sides end in order.
func TestManyAtOnce(t *testing.T) {
	s := start(t)
	target := listen(t, "127.0.0.1:0", echo)
	done := make(chan struct{})
	for i := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			row := reserve(model.TCP, "::", uint16(7000+i))
			proxied := to(model.TCP, "::1", row.First, row.First, target)
			for range 20 {
				if err := s.ports.Reserve(context.Background(), []desired.Reserve{row}); err != nil {
					t.Error(err)
				}
				if err := s.Apply(context.Background(), wanted(proxied)); err != nil {
					t.Error(err)
				}
				if err := oneClient(net.JoinHostPort("::1", "700"+string(rune('0'+i))), "hello"); err != nil {
					t.Error(err)
				}
				s.Rows()
				if err := s.Apply(context.Background(), unwanted(proxied)); err != nil {
					t.Error(err)
				}
				if err := s.ports.Release(context.Background(), []desired.Reserve{row}); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	for range 4 {
		<-done
	}
	if s.table.Len() != 0 || len(s.Rows()) != 0 {
		t.Errorf("left: %v, %d sockets", s.Rows(), s.table.Len())
	}
	if n := len(s.tcp.sockets); n != 0 {
		t.Errorf("%d sockets are still watched", n)
	}
}
