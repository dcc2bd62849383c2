package resolver

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

// loopback is an Opener whose namespaces are sockets on 127.0.0.1, and whose
// name servers are those that a test started.
type loopback struct {
	*upstreamtest.Net
	mu       sync.Mutex
	udp, tcp map[string]string // namespace: where it is answered
	refuse   error
}

func newLoopback() *loopback {
	return &loopback{Net: upstreamtest.New(), udp: map[string]string{}, tcp: map[string]string{}}
}

func (o *loopback) OpenDNS(_ context.Context, namespace string) (net.PacketConn, net.Listener, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuse != nil {
		return nil, nil, o.refuse
	}
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	o.udp[namespace], o.tcp[namespace] = udp.LocalAddr().String(), tcp.Addr().String()
	return udp, tcp, nil
}

func serverFor(t testing.TB, o *loopback, host ...string) *Server {
	t.Helper()
	s := New(Options{Opener: o, HostServers: func() []netip.Addr { return addrs(host...) }, Logger: slog.New(slog.DiscardHandler)})
	s.forward.upstream.Patience = 50 * time.Millisecond
	t.Cleanup(func() { s.Close() })
	return s
}

func addrs(text ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range text {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func name(network, n, endpoint string, ips ...string) desired.Name {
	return desired.Name{
		Network: model.NetworkID(network + "-id"), NetworkName: network, Name: n,
		Endpoint: model.EndpointID(endpoint), Addrs: addrs(ips...),
	}
}

func primary(n desired.Name) desired.Name { n.Primary = true; return n }

func resolverOn(networks ...string) desired.Resolver {
	r := desired.Resolver{Namespace: "box"}
	for _, n := range networks {
		r.Networks = append(r.Networks, model.NetworkID(n+"-id"))
	}
	return r
}

func wanted(rows ...desired.Row) []desired.Delta {
	var out []desired.Delta
	for _, row := range rows {
		out = append(out, desired.Delta{Owner: "test", New: row})
	}
	return out
}

func unwanted(rows ...desired.Row) []desired.Delta {
	var out []desired.Delta
	for _, d := range wanted(rows...) {
		out = append(out, d.Invert())
	}
	return out
}

func apply(t testing.TB, s *Server, deltas []desired.Delta) {
	t.Helper()
	if err := s.Apply(t.Context(), deltas); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

// ask asks the resolver of namespace "box" and returns its answer.
func ask(t testing.TB, o *loopback, network, qname string, qtype uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(dns.Fqdn(qname), qtype)
	return send(t, o, network, m)
}

func send(t testing.TB, o *loopback, network string, m *dns.Msg) *dns.Msg {
	t.Helper()
	o.mu.Lock()
	where := map[string]string{"udp": o.udp["box"], "tcp": o.tcp["box"]}[network]
	o.mu.Unlock()
	c := dns.Client{Net: network, Timeout: 5 * time.Second}
	r, _, err := c.Exchange(m, where)
	if err != nil {
		t.Fatalf("%s %s: %v", network, m.Question[0].String(), err)
	}
	return r
}
