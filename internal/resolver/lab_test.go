package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// loopback is an Opener whose namespaces are sockets on 127.0.0.1, and whose
// name servers are those that a test started: nothing leaves the machine.
type loopback struct {
	mu       sync.Mutex
	udp, tcp map[string]string   // namespace: where it is answered
	servers  map[string]string   // "192.0.2.1:53": where that is
	dialled  []string            // "namespace network address"
	made     map[*os.File]string // namespace of a socket that was not used yet
	visits   []int               // how many sockets each opened
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
	return &loopback{udp: map[string]string{}, tcp: map[string]string{}, servers: map[string]string{}, made: map[*os.File]string{}}
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

func (o *loopback) Open(_ context.Context, namespace, network string, count int) ([]*os.File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.visits = append(o.visits, count)
	var out []*os.File
	for range count {
		kind := unix.SOCK_DGRAM
		if strings.HasPrefix(network, "tcp") {
			kind = unix.SOCK_STREAM
		}
		fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return out, err
		}
		f := os.NewFile(uintptr(fd), network)
		o.made[f] = namespace
		out = append(out, f)
	}
	return out, nil
}

func (o *loopback) Connect(_ context.Context, socket *os.File, peer netip.AddrPort) error {
	o.mu.Lock()
	where, ok := o.servers[peer.String()]
	namespace, fresh := o.made[socket]
	if namespace == desired.HostNamespace {
		namespace = "host"
	}
	delete(o.made, socket)
	o.dialled = append(o.dialled, fmt.Sprintf("%s %s %s", namespace, socket.Name()[:3], peer))
	o.mu.Unlock()
	switch {
	case !fresh:
		return errors.New("the socket was used before")
	case !ok:
		return errors.New("no route to host")
	}
	real := netip.MustParseAddrPort(where)
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	// On the loopback interface this does not wait.
	var result error
	err = raw.Control(func(fd uintptr) {
		result = unix.Connect(int(fd), &unix.SockaddrInet4{Port: int(real.Port()), Addr: real.Addr().As4()})
		if result == unix.EINPROGRESS {
			result = nil
		}
	})
	return errors.Join(err, result)
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
