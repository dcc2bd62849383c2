package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// loopback is an Opener whose namespaces are sockets on 127.0.0.1, and whose
// name servers are those that a test started: nothing leaves the machine.
type loopback struct {
	mu       sync.Mutex
	udp, tcp map[string]string // namespace: where it is answered
	servers  map[string]string // "192.0.2.1:53": where that is
	dialled  []string          // "namespace network address"
	refuse   error
	guesses  atomic.Int32 // how many of the next answers over UDP are preceded by a wrong one
}

// guessed is a server in whose name somebody guesses.
func (o *loopback) guessed(h dns.HandlerFunc) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		if over(w) == "udp" && o.guesses.Load() > 0 {
			o.guesses.Add(-1)
			wrong := new(dns.Msg).SetReply(q)
			wrong.Id++
			w.WriteMsg(wrong)
		}
		h(w, q)
	}
}

func newLoopback() *loopback {
	return &loopback{udp: map[string]string{}, tcp: map[string]string{}, servers: map[string]string{}}
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

func (o *loopback) DialIn(ctx context.Context, namespace, network, address string) (net.Conn, error) {
	o.mu.Lock()
	where, ok := o.servers[address]
	if namespace == desired.HostNamespace {
		namespace = "host"
	}
	o.dialled = append(o.dialled, fmt.Sprintf("%s %s %s", namespace, network, address))
	o.mu.Unlock()
	if !ok {
		return nil, errors.New("no route to host")
	}
	return new(net.Dialer).DialContext(ctx, network, where)
}

func (o *loopback) asked() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.dialled...)
}

// upstream starts a name server at address (port 53) for the test's duration.
func (o *loopback) upstream(t testing.TB, address string, h dns.HandlerFunc) {
	t.Helper()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp4", tcp.Addr().String())
	if err != nil {
		t.Skipf("no port free for both protocols: %v", err)
	}
	h = o.guessed(h)
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: h}, {Listener: tcp, Handler: h}} {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		go s.ActivateAndServe()
		<-ready
		t.Cleanup(func() { s.Shutdown() })
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.servers[address+":53"] = tcp.Addr().String()
}

func serverFor(t testing.TB, o *loopback, host ...string) *Server {
	t.Helper()
	s := New(Options{Opener: o, HostServers: func() []netip.Addr { return addrs(host...) }, Logger: slog.New(slog.DiscardHandler)})
	s.forward.patience = 50 * time.Millisecond
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

// brief is an answer on one line: status and the data of its records, sorted by
// whoever compares.
func brief(m *dns.Msg) string {
	out := dns.RcodeToString[m.Rcode]
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			out += " " + rr.A.String()
		case *dns.AAAA:
			out += " " + rr.AAAA.String()
		case *dns.PTR:
			out += " " + rr.Ptr
		case *dns.TXT:
			out += " " + rr.Txt[0][:min(8, len(rr.Txt[0]))]
		default:
			out += " " + rr.String()
		}
	}
	return out
}
