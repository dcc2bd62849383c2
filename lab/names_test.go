package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

const (
	// manyVariable set to "full" gives one alias to 500 containers instead of as many as all tests have time for.
	manyVariable = "LINKSPAN_MANY"
	manyFull     = 500
	manyFew      = 25
	manyStarts   = 8 // docker clients at a time

	lookUpTime = 5 * time.Second // what a client of the C library waits for an answer (resolv.conf(5), timeout)
	// instantly is far more than a name that is known costs on a busy machine, and far less than any name server is
	// waited for.
	instantly    = 500 * time.Millisecond
	switches     = 8  // times a network is connected and disconnected while it is asked about
	settledAfter = 50 // questions

	killRate   = 1000 // questions per second while the daemon is killed
	killAskers = 8
)

// ipv6Too has the engine forward IPv6 from the beginning: what guards a host that forwards stays when networks go.
var ipv6Too = []string{"--ipv6", "--fixed-cidr-v6", "fd00:d0c::/64"}

// namesScene is a host with a network and somebody on it.
type namesScene struct {
	rig
	t     *testing.T
	lab   *Lab
	world string // path of the world's network namespace
}

// TestNames is about what a container's clients get to see while networks, containers, name servers and the daemon
// come and go.
func TestNames(t *testing.T) {
	engine := needEngine(t)
	l := New(t, Options{Engine: engine})
	s := &namesScene{t: t, lab: l, rig: rig{h: l.Host(1)}, world: fmt.Sprintf("/proc/%d/ns/net", l.World().PID())}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the engine wrote at last:\n%s", lastLines(s.h.Log(), 40))
		}
	})
	limit := 5 * crashStep
	if os.Getenv(manyVariable) == "full" {
		limit *= 4
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	s.do(s.h.Start(ctx, ipv6Too...))
	s.do(s.h.Load(ctx, "busybox"))
	s.docker(ctx, "network create --ipv6 --subnet 172.30.0.0/22 --subnet fd00:a::/64 office")
	s.docker(ctx, "run -d --name web --network office --network-alias www --ip 172.30.0.80 --ip6 fd00:a::80 busybox sleep 1000")
	for _, part := range []struct {
		name string
		test func(*namesScene, context.Context)
	}{
		{"NameServersFail", (*namesScene).nameServersFail},
		{"AllNameServersFail", (*namesScene).allNameServersFail},
		{"HostsServersChange", (*namesScene).hostsServersChange},
		{"ConnectWhileAsking", (*namesScene).connectWhileAsking},
		{"ManyUnderOneAlias", (*namesScene).manyUnderOneAlias},
		{"NothingLeaks", (*namesScene).nothingLeaks},
		{"DaemonDies", (*namesScene).daemonDies},
	} {
		t.Run(part.name, func(t *testing.T) {
			inner := *s
			inner.t = t
			part.test(&inner, ctx)
		})
	}
	if t.Failed() {
		return // what was not cleared away then says nothing
	}
	s.docker(ctx, "rm -f web")
	s.docker(ctx, "network rm office")
	s.do(Until(ctx, 3*cleanTime, func() error { return s.h.CheckClean(ctx) }))
}

func (s *namesScene) do(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// docker runs the client with words that hold no blanks.
func (s *namesScene) docker(ctx context.Context, words string) string {
	s.t.Helper()
	return must(s.t)(s.h.Docker(ctx, strings.Fields(words)...))
}

// netns is the path of a container's network namespace.
func (s *namesScene) netns(ctx context.Context, container string) string {
	s.t.Helper()
	id := s.docker(ctx, "inspect -f {{.Id}} "+container)
	return fmt.Sprintf("/proc/%d/root/run/netns/%s", s.h.PID(), id[:12])
}

// asked is what came of a question.
type asked struct {
	rcode   string
	records []string // what the records hold, in their order
	ttl     uint32   // of the first one
	tc      bool
	took    time.Duration
}

// String is the code and the records in order, "NOERROR 192.0.2.7".
func (a asked) String() string {
	return strings.Join(append([]string{a.rcode}, slices.Sorted(slices.Values(a.records))...), " ")
}

// question is "name type", or "name class type", asked over a network: "udp" or "tcp".
type question struct {
	network, text string
	size          uint16 // of EDNS; 0: none
}

// message is the question as a query.
func (q question) message() *dns.Msg {
	words := strings.Fields(q.text)
	m := new(dns.Msg).SetQuestion(dns.Fqdn(words[0]), dns.StringToType[words[len(words)-1]])
	if len(words) == 3 {
		m.Question[0].Qclass = dns.StringToClass[words[1]]
	}
	if q.size > 0 {
		m.SetEdns0(q.size, false)
	}
	return m
}

// here asks the resolver of the network namespace that the calling thread is in.
func (q question) here() (asked, error) {
	begin := time.Now()
	conn, err := net.DialTimeout(q.network, "127.0.0.11:53", lookUpTime)
	if err != nil {
		return asked{}, fmt.Errorf("%s over %s: %w", q.text, q.network, err)
	}
	defer conn.Close()
	return q.on(conn, begin)
}

// on asks on a connection.
func (q question) on(conn net.Conn, begin time.Time) (asked, error) {
	if err := conn.SetDeadline(begin.Add(lookUpTime)); err != nil {
		return asked{}, err
	}
	answer, _, err := (&dns.Client{Net: q.network, Timeout: lookUpTime}).ExchangeWithConn(q.message(), &dns.Conn{Conn: conn, UDPSize: q.size})
	if err != nil {
		return asked{}, fmt.Errorf("%s over %s, after %s: %w", q.text, q.network, time.Since(begin), err)
	}
	a := asked{rcode: dns.RcodeToString[answer.Rcode], tc: answer.Truncated, took: time.Since(begin)}
	for i, rr := range answer.Answer {
		if i == 0 {
			a.ttl = rr.Header().Ttl
		}
		a.records = append(a.records, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	return a, nil
}

// in asks from within a network namespace.
func (q question) in(space string) (a asked, err error) {
	err = inside(space, func() error {
		a, err = q.here()
		return err
	})
	return a, err
}

// wants asks for something over UDP and fails unless it is answered as wanted.
func (s *namesScene) wants(space, text, want string) asked {
	s.t.Helper()
	a, err := question{network: "udp", text: text}.in(space)
	if err != nil {
		s.t.Fatal(err)
	}
	if a.String() != want {
		s.t.Fatalf("%s: %s, not %s", text, a, want)
	}
	return a
}

// connectWhileAsking connects and disconnects a container while others ask for it, and for the world. A question that
// is asked after a command has returned gets the new answer, and one that is under way meanwhile gets one of the two.
func (s *namesScene) connectWhileAsking(ctx context.Context) {
	slow := s.nameServer("203.0.113.40", after(100*time.Millisecond, answering(300)))
	s.docker(ctx, "network create side")
	s.docker(ctx, "run -d --name seeker --network office --dns "+slow.addr.String()+" busybox sleep 1000")
	s.docker(ctx, "run -d --name late --network side busybox sleep 1000")
	var w watcher
	seeker, late := s.netns(ctx, "seeker"), s.netns(ctx, "late")
	askers, quit := errgroup.Group{}, make(chan struct{})
	ask := func(space, text, gone, there string) {
		askers.Go(func() error { return w.ask(quit, space, text, gone, there) })
	}
	ask(seeker, "late A", "NXDOMAIN", "NOERROR 172.30.0.90")
	ask(seeker, "later.office A", "NXDOMAIN", "NOERROR 172.30.0.90")
	ask(seeker, "late AAAA", "NXDOMAIN", "NOERROR fd00:a::90")
	ask(late, "web A", "NXDOMAIN", "NOERROR 172.30.0.80")
	askers.Go(func() error { // always a question under way to a name server
		for n := 0; ; n++ {
			select {
			case <-quit:
				return nil
			default:
			}
			a, err := question{network: "udp", text: fmt.Sprintf("pending%d.example.test A", n)}.in(seeker)
			if err == nil && a.String() != "NOERROR "+upstreamAnswer {
				err = fmt.Errorf("pending%d: %s", n, a)
			}
			if err != nil {
				return err
			}
		}
	})
	for range switches {
		w.change(func() { s.docker(ctx, "network connect --ip 172.30.0.90 --ip6 fd00:a::90 --alias later office late") })
		s.do(w.settled(ctx, settledAfter))
		w.change(func() { s.docker(ctx, "network disconnect office late") })
		s.do(w.settled(ctx, settledAfter))
	}
	close(quit)
	s.do(askers.Wait())
	s.t.Logf("%d questions, %d of them while something changed", w.asked.Load(), w.between.Load())
	s.docker(ctx, "rm -f seeker late")
	s.docker(ctx, "network rm side")
}

// watcher knows how things stand: its count is odd while they change.
type watcher struct {
	count          atomic.Int64
	asked, between atomic.Int64
}

func (w *watcher) change(do func()) {
	w.count.Add(1)
	do()
	w.count.Add(1)
}

// settled waits until so many more questions have been asked.
func (w *watcher) settled(ctx context.Context, more int64) error {
	want := w.asked.Load() + more
	return Until(ctx, lookUpTime, func() error {
		if n := w.asked.Load(); n < want {
			return fmt.Errorf("%d questions of %d", n, want)
		}
		return nil
	})
}

// ask asks over and over.
func (w *watcher) ask(quit <-chan struct{}, space, text, gone, there string) error {
	return inside(space, func() error {
		for {
			select {
			case <-quit:
				return nil
			default:
			}
			before := w.count.Load()
			a, err := question{network: "udp", text: text}.here()
			if err != nil {
				return err
			}
			w.asked.Add(1)
			after, want := w.count.Load(), []string{gone, there}
			switch {
			case before != after || before%2 == 1:
				w.between.Add(1)
			case before%4 == 0:
				want = want[:1]
			default:
				want = want[1:]
			}
			if !slices.Contains(want, a.String()) {
				return fmt.Errorf("%s: %s after %s, not %s (change %d to %d)", text, a, a.took, want, before, after)
			}
		}
	})
}

// manyUnderOneAlias gives one name to many containers: all are in an answer that has room for them, and each is the
// first one equally often.
func (s *namesScene) manyUnderOneAlias(ctx context.Context) {
	count := manyFew
	if os.Getenv(manyVariable) == "full" {
		count = manyFull
	}
	var all errgroup.Group
	all.SetLimit(manyStarts)
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("many%d", i)
		all.Go(func() error {
			_, err := s.h.Docker(ctx, "run", "-d", "--name", names[i], "--network", "office", "--network-alias", "crowd", "busybox", "sleep", "1000")
			return err
		})
	}
	s.do(all.Wait())
	space := s.netns(ctx, "web")
	for _, kind := range []string{"A", "AAAA"} {
		a, err := question{network: "tcp", text: "crowd " + kind}.in(space)
		s.do(err)
		if distinct := slices.Compact(slices.Sorted(slices.Values(a.records))); a.tc || len(distinct) != count {
			s.t.Errorf("%s over TCP: %d of %d addresses, truncated %t", kind, len(distinct), count, a.tc)
		}
		short, err := question{network: "udp", text: "crowd " + kind}.in(space)
		s.do(err)
		if short.tc != (len(short.records) < count) || len(short.records) == 0 {
			s.t.Errorf("%s over UDP: %d of %d addresses, truncated %t", kind, len(short.records), count, short.tc)
		}
	}
	s.fair(space, count)
	s.docker(ctx, "rm -f "+strings.Join(names, " "))
	s.wants(space, "crowd A", "NXDOMAIN")
}

// fair asks so often that each address is the first one a hundred times on average. With fair dice, one in a hundred
// million runs would leave the bounds, which are six standard deviations away.
func (s *namesScene) fair(space string, count int) {
	const average, least, most = 100, 40, 160
	first := map[string]int{}
	err := inside(space, func() error {
		conn, err := net.Dial("udp", "127.0.0.11:53")
		if err != nil {
			return err
		}
		defer conn.Close()
		for range average * count {
			a, err := question{network: "udp", text: "crowd A"}.on(conn, time.Now())
			if err != nil {
				return err
			}
			first[a.records[0]]++
		}
		return nil
	})
	s.do(err)
	for address, n := range first {
		if n < least || n > most {
			s.t.Errorf("%s was the first of %d addresses %d times, not some %d", address, count, n, average)
		}
	}
	if len(first) != count {
		s.t.Errorf("%d of %d addresses were ever the first", len(first), count)
	}
}

// daemonDies kills the daemon while a thousand questions are asked in a second: of both families, by name, alias and
// address, of the world, over UDP and over TCP, on new connections and on one that stays. None is lost.
func (s *namesScene) daemonDies(ctx context.Context) {
	s.docker(ctx, "run -d --name steady --network office busybox sleep 1000")
	space := s.netns(ctx, "steady")
	var answered atomic.Int64
	var askers errgroup.Group
	quit := make(chan struct{})
	end := sync.OnceFunc(func() { close(quit) })
	defer end()
	for i := range killAskers {
		askers.Go(func() error {
			return inside(space, func() error { return askSteadily(quit, i, &answered) })
		})
	}
	reach := func(n int64) {
		s.t.Helper()
		s.do(Until(ctx, crashStep, func() error {
			if have := answered.Load(); have < n {
				return fmt.Errorf("%d answers of %d", have, n)
			}
			return nil
		}))
	}
	reach(killRate)
	s.do(s.h.Kill(ctx))
	away, killed := time.Now(), answered.Load()
	reach(killed + 2*killRate)
	s.t.Logf("%d answers in %s without a daemon", answered.Load()-killed, time.Since(away).Round(time.Millisecond))
	s.do(s.h.Start(ctx, ipv6Too...))
	reach(answered.Load() + killRate)
	end()
	s.do(askers.Wait())
	s.docker(ctx, "rm -f steady")
}

// askSteadily asks its share of the questions until quit, all kinds in turn, and ends at the first that is lost or
// answered wrongly.
func askSteadily(quit <-chan struct{}, offset int, answered *atomic.Int64) error {
	kinds := []struct{ network, text, want string }{
		{"udp", "web A", "NOERROR 172.30.0.80"},
		{"udp", "web AAAA", "NOERROR fd00:a::80"},
		{"tcp", "web A", "NOERROR 172.30.0.80"},
		{"udp", "www.office A", "NOERROR 172.30.0.80"},
		{"udp", reverseOf("172.30.0.80") + " PTR", "NOERROR web.office."},
		{"stay", "www AAAA", "NOERROR fd00:a::80"},
		{"udp", reverseOf("fd00:a::80") + " PTR", "NOERROR web.office."},
		{"udp", worldName + " A", "NOERROR " + beyondAddr4},
		{"tcp", worldName + " AAAA", "NOERROR " + beyondAddr6},
		{"udp", "web MX", "NOERROR"},
	}
	stay, err := net.Dial("tcp", "127.0.0.11:53")
	if err != nil {
		return err
	}
	defer stay.Close()
	pace := time.NewTicker(time.Second * killAskers / killRate)
	defer pace.Stop()
	for i := offset; ; i++ {
		k := kinds[i%len(kinds)]
		q := question{network: k.network, text: k.text}
		var a asked
		if k.network == "stay" {
			q.network = "tcp"
			a, err = q.on(stay, time.Now())
		} else {
			a, err = q.here()
		}
		if err == nil && a.String() != k.want {
			err = fmt.Errorf("%s: %s, not %s", k.text, a, k.want)
		}
		if err != nil {
			return fmt.Errorf("after %d answers: %w", answered.Load(), err)
		}
		answered.Add(1)
		select {
		case <-pace.C:
		case <-quit:
			return nil
		}
	}
}

// reverseOf is the name under which an address has its PTR record.
func reverseOf(addr string) string {
	name, err := dns.ReverseAddr(netip.MustParseAddr(addr).String())
	if err != nil {
		return err.Error()
	}
	return name
}
