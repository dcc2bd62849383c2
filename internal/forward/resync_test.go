package forward

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

func resync(t testing.TB, s *Server, want desired.State) []string {
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

func TestResync(t *testing.T) {
	s := start(t)
	target := listen(t, "127.0.0.1:0", echo)
	all, wideRow := reserve(model.TCP, "::", 7000, 7009), reserve(model.UDP, "::", 10000, 20000)
	forward := to(model.TCP, "::1", 7000, 7009, target)
	forward.ToFirst -= 5
	other := forward
	other.ToFirst += 2
	shorter := reserve(model.TCP, "::", 7000, 7005)
	for _, step := range []struct {
		want  []desired.Row
		drift []string
	}{
		{nil, nil},
		{[]desired.Row{all, wideRow, forward}, []string{"missing or wrong: " + forward.String(), "missing or wrong: " + all.String(), "missing or wrong: " + wideRow.String()}},
		{[]desired.Row{all, wideRow, forward}, nil},
		{[]desired.Row{all, other}, []string{"left over: " + wideRow.String(), "missing or wrong: " + other.String()}},
		{[]desired.Row{shorter, other}, []string{"missing or wrong: " + shorter.String()}},
		{[]desired.Row{all, forward}, []string{"missing or wrong: " + forward.String(), "missing or wrong: " + all.String()}},
		{[]desired.Row{all}, []string{"left over: " + forward.String()}},
	} {
		want := stateOf(t, step.want...)
		if got := resync(t, s, want); !slices.Equal(got, sorted(step.drift)) {
			t.Errorf("drift %q, want %q", got, step.drift)
		}
		if slices.Contains(step.want, desired.Row(forward)) {
			talk(t, dial(t, "[::1]:7005"), "x")
		}
		if again := resync(t, s, want); len(again) > 0 {
			t.Errorf("a second time: %q", again)
		}
	}
	if len(s.sockets) != 10 {
		t.Errorf("%d sockets", len(s.sockets))
	}
}

func sorted(lines []string) []string {
	out := slices.Clone(lines)
	slices.Sort(out)
	return out
}

// TestResyncReportsWhatItCannotHold, and has it as soon as the other one is gone,
// from whatever sockets the forwards had meanwhile.
func TestResyncReportsWhatItCannotHold(t *testing.T) {
	s := start(t)
	l, err := net.Listen("tcp6", "[::]:7003")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	row, forward := reserve(model.TCP, "::", 7000, 7005), to(model.TCP, "::1", 7000, 7001, listen(t, "127.0.0.1:0", echo))
	forward.ToFirst--
	want := stateOf(t, row, forward)
	report, err := s.Resync(t.Context(), want)
	failures := desired.Failures(err)
	var held *desired.Held
	if len(failures) != 1 || failures[0].Key != row.Key() || failures[0].Owner != "test" || !errors.As(err, &held) || held.Who != self(t) {
		t.Errorf("Resync: %v", err)
	}
	if len(report.Drift) != 1 || !strings.Contains(report.Drift[0], "forward") {
		t.Errorf("report %q", report.Drift)
	}
	talk(t, dial(t, "[::1]:7001"), "x")
	l.Close()
	if report, err = s.Resync(t.Context(), want); err != nil || len(report.Drift) != 1 {
		t.Errorf("Resync without the other: %v, %v", report, err)
	}
	talk(t, dial(t, "[::1]:7001"), "x")
	if len(s.sockets) != 6 {
		t.Errorf("%d sockets, want one for each reserved port", len(s.sockets))
	}
}

// TestApplyLeavesReservationsAlone: they come before the commit and go after it.
func TestApplyLeavesReservationsAlone(t *testing.T) {
	s := start(t)
	row := reserve(model.TCP, "::", 7000)
	apply(t, s, wanted(row))
	if len(s.Claimed()) > 0 {
		t.Error("Apply has claimed")
	}
	claim(t, s, row)
	apply(t, s, unwanted(row))
	if len(s.Claimed()) != 1 {
		t.Error("Apply has let go")
	}
}

// TestForwardOutlivesItsReservation: it keeps the socket, until it goes too.
func TestForwardOutlivesItsReservation(t *testing.T) {
	s := start(t)
	row, forward := reserve(model.TCP, "::", 7000), to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", echo))
	claim(t, s, row)
	apply(t, s, wanted(forward))
	if err := s.Unclaim(t.Context(), []desired.Reserve{row}); err != nil {
		t.Fatal(err)
	}
	talk(t, dial(t, "[::1]:7000"), "x")
	claim(t, s, row)
	if len(s.sockets) != 1 {
		t.Errorf("%d sockets", len(s.sockets))
	}
	if err := s.Unclaim(t.Context(), []desired.Reserve{row}); err != nil {
		t.Fatal(err)
	}
	apply(t, s, unwanted(forward))
	if err := tryBind("tcp6", "[::1]:7000"); err != nil {
		t.Error(err)
	}
}

// TestManyAtOnce: claims, rows, resyncs and looks from all sides end in order.
func TestManyAtOnce(t *testing.T) {
	s := start(t)
	target := listen(t, "127.0.0.1:0", echo)
	done := make(chan struct{})
	for i := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			row := reserve(model.TCP, "::", uint16(7000+i))
			forward := to(model.TCP, "::1", row.First, row.First, target)
			for range 20 {
				if err := s.Claim(context.Background(), []desired.Reserve{row}); err != nil {
					t.Error(err)
				}
				if err := s.Apply(context.Background(), wanted(forward)); err != nil {
					t.Error(err)
				}
				if err := oneClient(net.JoinHostPort("::1", "700"+string(rune('0'+i))), "hello"); err != nil {
					t.Error(err)
				}
				s.Rows()
				if err := s.Apply(context.Background(), unwanted(forward)); err != nil {
					t.Error(err)
				}
				if err := s.Unclaim(context.Background(), []desired.Reserve{row}); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	for range 4 {
		<-done
	}
	if len(s.sockets) != 0 || len(s.Rows()) != 0 {
		t.Errorf("left: %v, %d sockets", s.Rows(), len(s.sockets))
	}
}
