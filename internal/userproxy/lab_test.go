package userproxy

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/hostports"
	"github.com/linkspan/linkspan/internal/portsocket"
	"github.com/linkspan/linkspan/internal/portsocket/porttest"
)

func TestMain(m *testing.M) { porttest.Main(m) }

// What the tests of ports share.
var (
	self                                                          = porttest.Self
	tryBind, eventually, listen, echo, dial, talk, silent         = porttest.TryBind, porttest.Eventually, porttest.Listen, porttest.Echo, porttest.Dial, porttest.Talk, porttest.Silent
	afterwards, mirror, ask, refusal                              = porttest.Afterwards, porttest.Mirror, porttest.Ask, porttest.Refusal
	reserve, to, wanted, unwanted, stateOf, openFiles, expectBind = porttest.Reserve, porttest.To, porttest.Wanted, porttest.Unwanted, porttest.StateOf, porttest.OpenFiles, porttest.ExpectBind
)

// both is a Server and the reservations that it shares a table with.
type serverWithPorts struct {
	*Server
	ports *hostports.Reserver
}

// start returns a Server that ends with the test.
func start(t testing.TB) *serverWithPorts {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := startWith(slog.New(slog.DiscardHandler), os.Getenv(porttest.CgroupVar))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func startWith(log *slog.Logger, cgroup string) *serverWithPorts {
	table := portsocket.NewTable()
	s := New(Options{Logger: log, Sockets: table})
	return &serverWithPorts{s, hostports.New(hostports.Options{Logger: log, Sockets: table, Proxy: s, Cgroup: cgroup})}
}

func (b *serverWithPorts) Close() error { return errors.Join(b.Server.Close(), b.ports.Close()) }

// Rows returns the rows of both, in the order of keys.
func (b *serverWithPorts) Rows() []desired.Row {
	out := b.Server.Rows()
	for _, row := range b.ports.Reserved() {
		out = append(out, row)
	}
	slices.SortFunc(out, func(x, y desired.Row) int { return x.Key().Compare(y.Key()) })
	return out
}

func (b *serverWithPorts) HandOver() []portsocket.Handed {
	return append(b.Server.HandOver(), b.ports.HandOver()...)
}

func (b *serverWithPorts) Adopt(ctx context.Context, handed []portsocket.Handed, rows []desired.Row) error {
	clients, err := b.ports.Adopt(ctx, handed, rows)
	return errors.Join(err, b.Server.Adopt(ctx, clients, rows))
}

func (b *serverWithPorts) Drain(ctx context.Context) error {
	return errors.Join(b.ports.Drain(), b.Server.Drain(ctx))
}

func hold(t testing.TB, s *serverWithPorts, rows ...desired.Reserve) {
	t.Helper()
	if err := s.ports.Reserve(t.Context(), rows); err != nil {
		t.Fatalf("Reserve: %v", err)
	}
}

func apply(t testing.TB, s *serverWithPorts, deltas []desired.Delta) {
	t.Helper()
	if err := s.Apply(t.Context(), deltas); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}
