// Package upstreamtest has name servers for tests: they listen at 127.0.0.1, under the
// addresses that a test gives them, and nothing that is asked leaves the machine.
package upstreamtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
)

// Net is an upstream.Opener that knows the way to name servers of tests only. It is
// made by New.
type Net struct {
	// Guesses is how many of the next answers over UDP are preceded by a wrong one, as
	// if somebody guessed.
	Guesses atomic.Int32

	mu      sync.Mutex
	servers map[string]string   // "192.0.2.1:53": where that is
	asked   []string            // "namespace network address"
	unused  map[*os.File]string // namespace of a socket that was not used yet
	visits  []int               // how many sockets each opened
}

// New returns a Net without name servers.
func New() *Net {
	return &Net{servers: map[string]string{}, unused: map[*os.File]string{}}
}

// Open returns sockets; the namespace is only noted.
func (n *Net) Open(_ context.Context, namespace, network string, count int) ([]*os.File, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.visits = append(n.visits, count)
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
		n.unused[f] = namespace
		out = append(out, f)
	}
	return out, nil
}

// Connect leads to the name server that has the peer's address here. A socket that was
// connected before is an error.
func (n *Net) Connect(_ context.Context, socket *os.File, peer netip.AddrPort) error {
	n.mu.Lock()
	where, ok := n.servers[peer.String()]
	namespace, fresh := n.unused[socket]
	if namespace == desired.HostNamespace {
		namespace = "host"
	}
	delete(n.unused, socket)
	n.asked = append(n.asked, fmt.Sprintf("%s %s %s", namespace, socket.Name()[:3], peer))
	n.mu.Unlock()
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

// Asked returns who was asked in what order, as "namespace network address".
func (n *Net) Asked() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.asked)
}

// Visits returns how many sockets were opened at each visit to a namespace.
func (n *Net) Visits() []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.visits)
}

// Left is how many sockets were opened and not connected, and are not closed.
func (n *Net) Left() (open int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for f := range n.unused {
		if _, err := f.Stat(); err == nil {
			open++
		}
	}
	return open
}

// Route has port 53 of an address lead to where a test listens itself.
func (n *Net) Route(address string, where net.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.servers[address+":53"] = where.String()
}

// Serve starts a name server at an address, over UDP and TCP, for the test's duration.
func (n *Net) Serve(t testing.TB, address string, h dns.HandlerFunc) {
	t.Helper()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp4", tcp.Addr().String())
	if err != nil {
		t.Skipf("no port free for both protocols: %v", err)
	}
	h = n.guessed(h)
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: h}, {Listener: tcp, Handler: h}} {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		go s.ActivateAndServe()
		<-ready
		t.Cleanup(func() { s.Shutdown() })
	}
	n.Route(address, tcp.Addr())
}

// guessed is a server in whose name somebody guesses.
func (n *Net) guessed(h dns.HandlerFunc) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		if Transport(w) == "udp" && n.Guesses.Load() > 0 {
			n.Guesses.Add(-1)
			wrong := new(dns.Msg).SetReply(q)
			wrong.Id++
			w.WriteMsg(wrong)
		}
		h(w, q)
	}
}

// Says answers every query with one TXT record.
func Says(text string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		r.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 5}, Txt: []string{text}}}
		w.WriteMsg(r)
	}
}

// Fails answers every query with a status.
func Fails(rcode int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(new(dns.Msg).SetRcode(q, rcode)) }
}

// Silent takes queries and never answers.
func Silent(dns.ResponseWriter, *dns.Msg) {}

// Transport tells over which protocol a name server was asked, "udp" or "tcp".
func Transport(w dns.ResponseWriter) string { return w.RemoteAddr().Network() }

// Brief is an answer on one line: status and the data of its records, sorted by
// whoever compares.
func Brief(m *dns.Msg) string {
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
