package hostports

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/portsocket"
	"github.com/linkspan/linkspan/internal/portsocket/porttest"
	"github.com/linkspan/linkspan/internal/userproxy"
)

func TestMain(m *testing.M) { porttest.Main(m) }

// What the tests of ports share.
var (
	self                                                = porttest.Self
	tryBind, listen, echo, dial, talk, silent           = porttest.TryBind, porttest.Listen, porttest.Echo, porttest.Dial, porttest.Talk, porttest.Silent
	reserve, to, wanted, openFiles, guarded, expectBind = porttest.Reserve, porttest.To, porttest.Wanted, porttest.OpenFiles, porttest.Guarded, porttest.ExpectBind
)

// both is a Reserver and the proxy that it shares a table with.
type reserverWithProxy struct {
	*Reserver
	proxy *userproxy.Server
}

// start returns a Reserver that ends with the test.
func start(t testing.TB) *reserverWithProxy {
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

func startWith(log *slog.Logger, cgroup string) *reserverWithProxy {
	table := portsocket.NewTable()
	proxy := userproxy.New(userproxy.Options{Logger: log, Sockets: table})
	return &reserverWithProxy{New(Options{Logger: log, Sockets: table, Proxy: proxy, Cgroup: cgroup}), proxy}
}

func (b *reserverWithProxy) Close() error { return errors.Join(b.proxy.Close(), b.Reserver.Close()) }

func (b *reserverWithProxy) HandOver() []portsocket.Handed {
	return append(b.proxy.HandOver(), b.Reserver.HandOver()...)
}

func (b *reserverWithProxy) Adopt(ctx context.Context, handed []portsocket.Handed, rows []desired.Row) error {
	clients, err := b.Reserver.Adopt(ctx, handed, rows)
	return errors.Join(err, b.proxy.Adopt(ctx, clients, rows))
}

func (b *reserverWithProxy) Drain(ctx context.Context) error {
	return errors.Join(b.Reserver.Drain(), b.proxy.Drain(ctx))
}

// Rows returns what a successor has to be given.
func (b *reserverWithProxy) Rows() []desired.Row {
	out := b.proxy.Rows()
	for _, row := range b.Reserved() {
		out = append(out, row)
	}
	return out
}

func hold(t testing.TB, s *reserverWithProxy, rows ...desired.Reserve) {
	t.Helper()
	if err := s.Reserve(t.Context(), rows); err != nil {
		t.Fatalf("Reserve: %v", err)
	}
}

func apply(t testing.TB, s *reserverWithProxy, deltas []desired.Delta) {
	t.Helper()
	if err := s.proxy.Apply(t.Context(), deltas); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}
