package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

const (
	upstreamAnswer = "192.0.2.7" // what the name servers of these tests say every name has
	// hedged is how long the first question may take whose name server is no good: the resolver gives it 1.5 s.
	hedged = 2500 * time.Millisecond
	// warnings is so many questions a bad name server may cost time before it is asked last.
	warnings = 3
)

// nameServer is a name server in the outside world, which answers as it is told.
type nameServer struct {
	addr   netip.Addr
	manner atomic.Pointer[manner]
	asked  atomic.Int64
}

// manner is how a name server answers.
type manner func(w dns.ResponseWriter, q *dns.Msg)

// nameServer starts one for the test's duration, over UDP and TCP.
func (s *namesScene) nameServer(address string, m manner) *nameServer {
	s.t.Helper()
	n := &nameServer{addr: netip.MustParseAddr(address)}
	n.manner.Store(&m)
	where := netip.AddrPortFrom(n.addr, 53).String()
	var udp net.PacketConn
	var tcp net.Listener
	s.do(s.lab.World().ip(s.t.Context(), fmt.Sprintf("address replace %s/32 dev lo", address)))
	s.do(inside(s.world, func() (err error) {
		if udp, err = net.ListenPacket("udp", where); err != nil {
			return err
		}
		tcp, err = net.Listen("tcp", where)
		return err
	}))
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		n.asked.Add(1)
		(*n.manner.Load())(w, q)
	})
	var serving sync.WaitGroup
	for _, server := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		ready := make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		serving.Go(func() { _ = server.ActivateAndServe() }) // ends with Shutdown
		<-ready
		s.t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = server.ShutdownContext(ctx) // a handler that waits may outlive it
		})
	}
	return n
}

// answering says that every name has the address, for so many seconds; names without a dot there are none.
func answering(ttl uint32) manner {
	return func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(goodAnswer(q, ttl)) } // the asker may be gone
}

func goodAnswer(q *dns.Msg, ttl uint32) *dns.Msg {
	r, name := new(dns.Msg).SetReply(q), q.Question[0].Name
	r.RecursionAvailable = true
	if strings.Count(name, ".") < 2 || strings.HasSuffix(strings.ToLower(name), ".office.") {
		r.Rcode = dns.RcodeNameError
	} else if q.Question[0].Qtype == dns.TypeA {
		header := dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}
		r.Answer = []dns.RR{&dns.A{Hdr: header, A: net.ParseIP(upstreamAnswer)}}
	}
	return r
}

// after answers late.
func after(d time.Duration, then manner) manner {
	return func(w dns.ResponseWriter, q *dns.Msg) { time.AfterFunc(d, func() { then(w, q) }) }
}

func silent(dns.ResponseWriter, *dns.Msg) {}

// changed answers with what change makes of a good answer, which says 192.0.2.66.
func changed(change func(*dns.Msg)) manner {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		r := goodAnswer(q, 300)
		for _, rr := range r.Answer {
			rr.(*dns.A).A = net.ParseIP("192.0.2.66")
		}
		change(r)
		_ = w.WriteMsg(r)
	}
}

// cutShort sends the first bytes of an answer.
func cutShort(keep int) manner {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		if raw, err := goodAnswer(q, 300).Pack(); err == nil {
			_, _ = w.Write(raw[:min(keep, len(raw))])
		}
	}
}

// badManners are the name servers that are no good.
func badManners() map[string]manner {
	return map[string]manner{
		"silent":         silent,
		"slow":           after(3*time.Second, answering(300)),
		"wrong ID":       changed(func(r *dns.Msg) { r.Id++ }),
		"wrong question": changed(func(r *dns.Msg) { r.Question[0].Name = "other.example.test." }),
		"no response":    changed(func(r *dns.Msg) { r.Response = false }),
		"cut short":      cutShort(20),
		"half a record":  cutShort(40),
		"no header":      cutShort(5),
		"SERVFAIL":       changed(func(r *dns.Msg) { r.Rcode, r.Answer = dns.RcodeServerFailure, nil }),
		"REFUSED":        changed(func(r *dns.Msg) { r.Rcode, r.Answer = dns.RcodeRefused, nil }),
	}
}

// nameServersFail gives each of some containers a name server that is no good, and one that is: every name resolves
// over both protocols, the first ones soon and those after them at once, and so do the names of containers.
func (s *namesScene) nameServersFail(ctx context.Context) {
	good := s.nameServer("203.0.113.20", answering(300))
	bad := map[string]netip.Addr{"dead": netip.MustParseAddr("203.0.113.21")}
	s.do(s.lab.World().ip(ctx, "address replace 203.0.113.21/32 dev lo"))
	for what, m := range badManners() {
		bad[what] = s.nameServer(fmt.Sprintf("203.0.113.%d", 21+len(bad)), m).addr
	}
	var names []string
	var all errgroup.Group
	for what, addr := range bad {
		name := strings.ReplaceAll("up-"+what, " ", "-")
		names = append(names, name)
		all.Go(func() error {
			_, err := s.h.Docker(ctx, "run", "-d", "--name", name, "--network", "office", "--dns", addr.String(), "--dns", good.addr.String(),
				"busybox", "sleep", "1000")
			return err
		})
	}
	s.do(all.Wait())
	for _, name := range names {
		space := s.netns(ctx, name)
		all.Go(func() error {
			if err := resolvesThroughTheOther(space, name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	s.do(all.Wait())
	s.docker(ctx, "rm -f "+strings.Join(names, " "))
}

// resolvesThroughTheOther asks for new names, one after the other.
func resolvesThroughTheOther(space, name string) error {
	for n := range 3 * warnings {
		q := question{network: "udp", text: fmt.Sprintf("n%d.%s.test A", n, name)}
		if n%3 == 2 {
			q.network = "tcp"
		}
		limit := hedged
		if n >= warnings {
			limit = instantly
		}
		a, err := q.in(space)
		switch {
		case err != nil:
			return err
		case a.String() != "NOERROR "+upstreamAnswer:
			return fmt.Errorf("%s over %s: %s", q.text, q.network, a)
		case a.took > limit:
			return fmt.Errorf("%s over %s took %s, more than %s", q.text, q.network, a.took, limit)
		}
		local, err := question{network: "udp", text: "web A"}.in(space)
		if err != nil || local.String() != "NOERROR 172.30.0.80" || local.took > instantly {
			return errors.Join(fmt.Errorf("web: %s after %s", local, local.took), err)
		}
	}
	return nil
}

// allNameServersFail lets both name servers of a container fall silent, and later back to work. What was asked for
// before is answered all the time, by and by from memory; names of containers are answered at once.
func (s *namesScene) allNameServersFail(ctx context.Context) {
	one, two := s.nameServer("203.0.113.50", answering(1)), s.nameServer("203.0.113.51", answering(1))
	s.docker(ctx, fmt.Sprintf("run -d --name mute --network office --dns %s --dns %s busybox sleep 1000", one.addr, two.addr))
	space := s.netns(ctx, "mute")
	kept := func() asked { return s.wants(space, "kept.example.test A", "NOERROR "+upstreamAnswer) }
	kept()
	if two.asked.Load() != 0 {
		s.t.Errorf("the second name server was asked though the first one answers")
	}
	mute, back := manner(silent), answering(300)
	one.manner.Store(&mute)
	two.manner.Store(&mute)

	s.do(Until(ctx, lookUpTime, func() error { // the answer was good for a second; then a new one is wanted, and does not come
		kept()
		return asksAgain(one, 1)
	}))
	if a := kept(); a.took > instantly {
		s.t.Errorf("a stale answer took %s", a.took)
	}
	var meanwhile errgroup.Group
	before, n := two.asked.Load(), 0
	meanwhile.Go(func() error {
		a, err := question{network: "udp", text: "unknown.example.test A"}.in(space)
		if err == nil && a.String() != "SERVFAIL" {
			err = fmt.Errorf("unknown.example.test: %s", a)
		}
		return err
	})
	s.do(Until(ctx, lookUpTime, func() error { return asksAgain(two, before) })) // it is under way
	if a := s.wants(space, "web A", "NOERROR 172.30.0.80"); a.took > instantly {
		s.t.Errorf("with all name servers silent the name of a container took %s", a.took)
	}
	s.do(meanwhile.Wait())

	two.manner.Store(&back)
	s.wants(space, "again.example.test A", "NOERROR "+upstreamAnswer)
	one.manner.Store(&back)
	before = one.asked.Load()
	s.do(Until(ctx, 3*lookUpTime, func() error { // one that has failed may be left alone for some seconds
		n++
		s.wants(space, fmt.Sprintf("again%d.example.test A", n), "NOERROR "+upstreamAnswer)
		return asksAgain(one, before)
	}))
	s.docker(ctx, "rm -f mute")
}

// hostsServersChange gives the host another name server while a container runs: the next question goes there, and never
// to the one before.
func (s *namesScene) hostsServersChange(ctx context.Context) {
	file := s.h.file("resolv.conf")
	before, err := os.ReadFile(file)
	s.do(err)
	s.docker(ctx, "run -d --name hosted --network office busybox sleep 1000")
	space, n := s.netns(ctx, "hosted"), 0
	s.wants(space, worldName+" A", "NOERROR "+beyondAddr4)
	var last *nameServer
	for _, address := range []string{"203.0.113.60", "203.0.113.61"} {
		next := s.nameServer(address, answering(300))
		s.do(os.WriteFile(file, fmt.Appendf(nil, "nameserver %s\n", address), 0o644)) // in place: it is mounted
		s.do(Until(ctx, lookUpTime, func() error {
			n++
			if _, err := (question{network: "udp", text: fmt.Sprintf("hosted%d.example.test A", n)}).in(space); err != nil {
				return err
			}
			return asksAgain(next, 0)
		}))
		if last != nil {
			had := last.asked.Load()
			s.wants(space, "not-there.example.test A", "NOERROR "+upstreamAnswer)
			if last.asked.Load() != had {
				s.t.Errorf("%s is asked though it is not the host's name server any more", last.addr)
			}
		}
		last = next
	}
	s.do(os.WriteFile(file, before, 0o644))
	s.do(Until(ctx, lookUpTime, func() error { // what follows counts on the world's name server, which knows none of these
		n++
		a, err := question{network: "udp", text: fmt.Sprintf("hosted%d.example.test A", n)}.in(space)
		if err == nil && a.String() != "NXDOMAIN" {
			err = fmt.Errorf("the world's name server is not asked yet: %s", a)
		}
		return err
	}))
	s.docker(ctx, "rm -f hosted")
}

// asksAgain wants a name server to have been asked more often than so many times.
func asksAgain(n *nameServer, than int64) error {
	if have := n.asked.Load(); have <= than {
		return fmt.Errorf("%s has been asked %d times", n.addr, have)
	}
	return nil
}
