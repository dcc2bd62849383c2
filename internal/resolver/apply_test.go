package resolver

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

func TestApplyIsSeenAtOnce(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o)
	apply(t, s, wanted(resolverOn("net")))
	expect := func(what, qname, want string) {
		t.Helper()
		if got := upstreamtest.Brief(ask(t, o, "udp", qname, dns.TypeA)); got != want {
			t.Errorf("%s: %s is %q, want %q", what, qname, got, want)
		}
	}
	web := primary(name("net", "web", "e1", "172.18.0.2"))
	expect("before", "web", "SERVFAIL")
	apply(t, s, wanted(web))
	apply(t, s, wanted(web))
	expect("added", "web", "NOERROR 172.18.0.2")

	moved := primary(name("net", "web", "e1", "172.18.0.5"))
	apply(t, s, []desired.Delta{{Owner: "test", Old: web, New: moved}})
	expect("moved", "web", "NOERROR 172.18.0.5")
	if got := upstreamtest.Brief(ask(t, o, "udp", "2.0.18.172.in-addr.arpa", dns.TypePTR)); got != "SERVFAIL" {
		t.Errorf("the old address is still known: %s", got)
	}

	// Another endpoint takes the address over; the order of rows is not defined.
	heir := primary(name("net", "heir", "e2", "172.18.0.5"))
	apply(t, s, append(wanted(heir), unwanted(moved)...))
	expect("handed over", "heir", "NOERROR 172.18.0.5")
	expect("handed over", "web", "SERVFAIL")
	if got := upstreamtest.Brief(ask(t, o, "udp", "5.0.18.172.in-addr.arpa", dns.TypePTR)); got != "NOERROR heir.net." {
		t.Errorf("after handing over, PTR is %q", got)
	}

	both := resolverOn("net", "more")
	apply(t, s, []desired.Delta{{Owner: "test", Old: resolverOn("net"), New: both}})
	apply(t, s, wanted(name("more", "far", "e3", "172.19.0.2")))
	expect("connected", "far", "NOERROR 172.19.0.2")

	apply(t, s, unwanted(heir, name("more", "far", "e3")))
	apply(t, s, unwanted(heir))
	expect("removed", "heir", "SERVFAIL")
	if n := s.table.Load().zones.Len(); n != 0 {
		t.Errorf("%d zones without names are left", n)
	}
}

func TestRemovedResolverIsSilent(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o)
	apply(t, s, wanted(resolverOn("net"), name("net", "web", "e1", "172.18.0.2")))
	where := o.udp["box"]
	apply(t, s, unwanted(resolverOn("net")))
	apply(t, s, unwanted(resolverOn("net")))
	// The port is free again: the socket is gone.
	conn, err := net.ListenPacket("udp4", where)
	if err != nil {
		t.Fatalf("still listening: %v", err)
	}
	conn.Close()
}

func TestFailureNamesTheRow(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o)
	o.refuse = errors.New("no such namespace")
	err := s.Apply(t.Context(), wanted(resolverOn("net"), name("net", "web", "e1", "172.18.0.2"),
		desired.Namespace{Name: "box"}))
	f := desired.Failures(err)
	if len(f) != 1 || f[0].Owner != "test" || f[0].Key != resolverOn().Key() || !errors.Is(f[0], o.refuse) {
		t.Fatalf("got %v", err)
	}
	// What could be done is done, and a second try does the rest.
	o.refuse = nil
	apply(t, s, wanted(resolverOn("net")))
	if got := upstreamtest.Brief(ask(t, o, "udp", "web", dns.TypeA)); got != "NOERROR 172.18.0.2" {
		t.Errorf("got %q", got)
	}
}

func stateOf(t *testing.T, rows ...desired.Row) desired.State {
	t.Helper()
	state, err := desired.State{}.Replace("test", rows)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestResync(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o)
	resync := func(want desired.State, writes int) desired.Report {
		t.Helper()
		report, err := s.Resync(t.Context(), want)
		if err != nil || report.Writes != writes || len(report.Drift) != writes {
			t.Fatalf("got %+v, %v; want %d writes", report, err, writes)
		}
		return report
	}
	apply(t, s, wanted(resolverOn("net"), name("net", "old", "e1", "172.18.0.2"), name("net", "web", "e1", "172.18.0.2"),
		desired.Resolver{Namespace: "gone"}))
	want := stateOf(t, resolverOn("net"), name("net", "web", "e1", "172.18.0.3"), name("net", "new", "e1", "172.18.0.3"),
		desired.Resolver{Namespace: "other"}, desired.Namespace{Name: "box"})
	report := resync(want, 5)
	for _, part := range []string{"left over: name old", "wrong: name web", "wrong: name new", "left over: resolver gone", "missing or wrong: resolver other"} {
		if !slices.ContainsFunc(report.Drift, func(line string) bool { return strings.Contains(line, part) }) {
			t.Errorf("no line %q in %q", part, report.Drift)
		}
	}
	resync(want, 0)
	if got := upstreamtest.Brief(ask(t, o, "udp", "web", dns.TypeA)); got != "NOERROR 172.18.0.3" {
		t.Errorf("got %q", got)
	}

	// A listener whose socket died under it is replaced.
	s.mu.Lock()
	l := s.listeners["box"]
	s.mu.Unlock()
	l.udp.Close()
	await(t, "the listener is replaced", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.listeners["box"] != l
	})
	resync(want, 0)
	if got := upstreamtest.Brief(ask(t, o, "udp", "new", dns.TypeA)); got != "NOERROR 172.18.0.3" {
		t.Errorf("got %q", got)
	}
	resync(desired.State{}, 4)
	resync(desired.State{}, 0)
}

// await polls cond until it holds; the test fails if that takes too long.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !cond(); time.Sleep(time.Millisecond) { // poll
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestClose(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o, "192.0.2.1")
	stuck := make(chan struct{})
	defer close(stuck)
	o.Serve(t, "192.0.2.1", func(dns.ResponseWriter, *dns.Msg) { <-stuck })
	apply(t, s, wanted(resolverOn("net")))
	conn, err := net.Dial("udp4", o.udp["box"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, _ := new(dns.Msg).SetQuestion("world.test.", dns.TypeA).Pack()
	conn.Write(raw)
	await(t, "the query is out", func() bool { return s.forward.total.Inside() == 1 })
	begin := time.Now()
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	if n := s.forward.total.Inside(); n != 0 {
		t.Errorf("%d queries are still out", n)
	}
	if model.KindOf(s.Apply(t.Context(), nil)) != model.Unavailable {
		t.Error("Apply works on a closed server")
	}
}

// TestTableWalk applies the same rows by random-looking detours and expects the
// table that a resync from nothing builds.
func TestTableWalk(t *testing.T) {
	var rows []desired.Name
	for i := range 40 {
		n := name(fmt.Sprintf("n%d", i%3), []string{"a", "A", "b", "c.d"}[i%4], fmt.Sprint(i%5), fmt.Sprintf("10.0.%d.%d", i%4, i))
		n.Primary = i%2 == 0
		rows = append(rows, n)
	}
	walked := newTable()
	for step := range 400 {
		e := walked.edit()
		row := rows[(step*17)%len(rows)]
		if step%3 == 0 {
			e.remove(row)
		} else {
			e.put(row)
		}
		walked = e.commit()
	}
	fresh := newTable().edit()
	for row := range walked.rows() {
		fresh.put(row)
	}
	if a, b := dump(walked), dump(fresh.commit()); len(a) == 0 || !reflect.DeepEqual(a, b) {
		t.Errorf("walked:\n%s\nfresh:\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
}

func dump(t *table) []string {
	var out []string
	t.zones.Root().Walk(func(id []byte, z *zone) bool {
		z.names.Root().Walk(func(name []byte, h *nameEntry) bool {
			out = append(out, fmt.Sprintf("%s %s %s %v %v", id, z.network, name, h.v4, h.v6))
			return false
		})
		z.reverse.Root().Walk(func(key, wire []byte) bool {
			out = append(out, fmt.Sprintf("%s %q %q", id, key, wire))
			return false
		})
		return false
	})
	return out
}

func TestChangesWhileAnswering(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o)
	web := name("net", "web", "e1", "172.18.0.2")
	apply(t, s, wanted(resolverOn("net"), web))
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if got := upstreamtest.Brief(ask(t, o, "udp", "web", dns.TypeA)); got != "NOERROR 172.18.0.2" {
					t.Errorf("got %q", got)
				}
			}
		})
	}
	for i := range 500 {
		extra := name("net", fmt.Sprint("extra", i%7), fmt.Sprint("x", i), "172.18.1.1")
		apply(t, s, wanted(extra, web))
		apply(t, s, unwanted(extra))
	}
	close(done)
	readers.Wait()
}
