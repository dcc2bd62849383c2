package userproxy

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

func dialUDP(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", address) // connected: replies from elsewhere do not count
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// behind cuts the port off what mirror answers.
func behind(answer string) string {
	_, said, _ := strings.Cut(answer, " ")
	return said
}

// TestProxyUDP: replies come from the address that the client used, which is not
// always the one that the kernel would choose.
func TestProxyUDP(t *testing.T) {
	v4, v6 := mirror(t, "127.0.0.1:0"), mirror(t, "[::1]:0")
	for _, c := range []struct {
		reserve, host, target, dial string
	}{
		{"", "::1", v4, "[::1]:7000"},
		{"::", "::1", v4, "[::1]:7000"},
		{"::", "::", v6, "[::1]:7000"},
		{"0.0.0.0", "127.0.0.3", v6, "127.0.0.3:7000"},
		{"0.0.0.0", "0.0.0.0", v4, "127.0.0.4:7000"},
		{"", "0.0.0.0", v4, "127.0.0.4:7000"},
	} {
		t.Run(fmt.Sprintf("%s within %s to %s", c.host, c.reserve, c.target), func(t *testing.T) {
			s := start(t)
			if c.reserve != "" {
				hold(t, s, reserve(model.UDP, c.reserve, 7000))
			}
			row := to(model.UDP, c.host, 7000, 7000, c.target)
			apply(t, s, wanted(row))
			one, two := dialUDP(t, c.dial), dialUDP(t, c.dial)
			first := ask(t, one, "hello")
			if behind(first) != "hello" {
				t.Errorf("got %q", first)
			}
			if again := ask(t, one, "hello"); again != first {
				t.Errorf("the same client is %q and then %q to the container", first, again)
			}
			if other := ask(t, two, "hello"); other == first {
				t.Errorf("two clients look alike: %q", other)
			}
			long := strings.Repeat("x", 40_000)
			if got := behind(ask(t, one, long)); got != long {
				t.Errorf("%d bytes of %d", len(got), len(long))
			}
			apply(t, s, unwanted(row))
			eventually(t, "clients are forgotten", func() bool { return s.flows.Inside() == 0 })
		})
	}
}

func TestUDPOnlyItsAddress(t *testing.T) {
	s := start(t)
	hold(t, s, reserve(model.UDP, "0.0.0.0", 7000))
	apply(t, s, wanted(to(model.UDP, "127.0.0.3", 7000, 7000, mirror(t, "127.0.0.1:0"))))
	closed := dialUDP(t, "127.0.0.2:7000")
	if _, err := closed.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := behind(ask(t, dialUDP(t, "127.0.0.3:7000"), "y")); got != "y" { // sent later, answered: the first is past
		t.Errorf("got %q", got)
	}
	if n := s.flows.Inside(); n != 1 {
		t.Errorf("%d clients, want 1", n)
	}
}

// TestUDPContainerThatIsLate: datagrams that it did not take are lost, and then
// the client is served as if nothing had been.
func TestUDPContainerThatIsLate(t *testing.T) {
	s := start(t)
	apply(t, s, wanted(to(model.UDP, "::1", 7000, 7000, "127.0.0.1:7100")))
	c := dialUDP(t, "[::1]:7000")
	for range 3 {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Errorf("the client sees %v", err)
		}
	}
	mirror(t, "127.0.0.1:7100")
	if got := behind(ask(t, c, "y")); got != "y" && got != "x" {
		t.Errorf("got %q", got)
	}
}

// TestClientsAreBounded: the one that has been silent for longest makes room.
func TestClientsAreBounded(t *testing.T) {
	s := start(t)
	row := to(model.UDP, "::1", 7000, 7000, mirror(t, "127.0.0.1:0"))
	apply(t, s, wanted(row))
	s.table.Lock()
	table := &s.proxies[row.Key()].flows
	s.table.Unlock()
	table.mu.Lock()
	table.share.Max = 2
	table.mu.Unlock()
	var clients []net.Conn
	var seen []string
	for range 3 {
		clients = append(clients, dialUDP(t, "[::1]:7000"))
		seen = append(seen, ask(t, clients[len(clients)-1], "x"))
		if len(clients) == 2 {
			ask(t, clients[0], "x")
		}
	}
	eventually(t, "two clients are left", func() bool { return s.flows.Inside() == 2 })
	if got := ask(t, clients[0], "x"); got != seen[0] {
		t.Errorf("the client that was not idle is %q now, was %q", got, seen[0])
	}
	if got := ask(t, clients[1], "x"); got == seen[1] {
		t.Error("the longest idle client has kept its place")
	}
}

// TestClientsInTotalAreBounded: beyond the bound of the server nobody is let in,
// and a place that becomes free can be had.
func TestClientsInTotalAreBounded(t *testing.T) {
	s := start(t)
	s.flows.Max = 1
	target := mirror(t, "127.0.0.1:0")
	row := to(model.UDP, "::1", 7000, 7000, target)
	apply(t, s, wanted(row, to(model.UDP, "::1", 7001, 7001, target)))
	ask(t, dialUDP(t, "[::1]:7000"), "x")
	late := dialUDP(t, "[::1]:7001")
	if _, err := late.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	late.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := late.Read(make([]byte, 9)); err == nil {
		t.Errorf("%d bytes for one client too many", n)
	}
	apply(t, s, unwanted(row))
	if got := behind(ask(t, late, "y")); got != "y" {
		t.Errorf("got %q", got)
	}
}

// TestIdleClientIsForgotten: after flowTime without a datagram.
func TestIdleClientIsForgotten(t *testing.T) {
	s := start(t)
	row := to(model.UDP, "::1", 7000, 7000, mirror(t, "127.0.0.1:0"))
	apply(t, s, wanted(row))
	ask(t, dialUDP(t, "[::1]:7000"), "x")
	s.table.Lock()
	l := s.proxies[row.Key()]
	s.table.Unlock()
	for _, f := range l.flows.all() {
		f.seen.Add(-int64(flowTime)) // as if it had been that long ago
		if err := f.upstream.SetReadDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the client is forgotten", func() bool { return s.flows.Inside() == 0 && len(l.flows.all()) == 0 })
}

func TestRowsThatCannotBeServed(t *testing.T) {
	s := start(t)
	good := to(model.TCP, "::1", 7000, 7001, "127.0.0.1:1")
	for _, row := range []desired.Forward{
		to(model.SCTP, "::1", 7000, 7000, "127.0.0.1:1"),
		to(model.TCP, "::1", 0, 7000, "127.0.0.1:1"),
		to(model.TCP, "::1", 7001, 7000, "127.0.0.1:1"),
		to(model.TCP, "::1", 7000, 7002, "127.0.0.1:65534"),
		{Protocol: model.TCP, First: 1, Last: 1, ToFirst: 1},
		to(model.TCP, "2001:db8::1", 7000, 7000, "127.0.0.1:1"),
	} {
		err := s.Apply(t.Context(), wanted(row))
		if failures := desired.Failures(err); len(failures) != 1 || failures[0].Owner != "test" || failures[0].Key != row.Key() {
			t.Errorf("%+v: %v", row, err)
		}
	}
	// A row of which one port is taken leaves nothing open.
	listen(t, "[::1]:7001", echo)
	if err := s.Apply(t.Context(), wanted(good)); len(desired.Failures(err)) != 1 {
		t.Errorf("a taken port: %v", err)
	}
	if rows := s.Rows(); len(rows) > 0 || s.table.Len() > 0 {
		t.Errorf("left: %v, %d sockets", rows, s.table.Len())
	}
	// One that is too wide is taken note of.
	wideRow := to(model.TCP, "127.0.0.1", 10000, 60000, "127.0.0.1:1000") // IPv4 is not steered
	apply(t, s, wanted(wideRow))
	if rows := s.Rows(); len(rows) != 1 || s.table.Len() != 0 {
		t.Errorf("rows %v, %d sockets", rows, s.table.Len())
	}
}

// TestRowThatCannotChange: the one before it goes on.
func TestRowThatCannotChange(t *testing.T) {
	s := start(t)
	old := to(model.TCP, "::1", 7000, 7001, listen(t, "127.0.0.1:0", echo))
	apply(t, s, wanted(old))
	c := dial(t, "[::1]:7000")
	talk(t, c, "x")
	listen(t, "[::1]:7002", echo)
	next := old
	next.Last, next.To = 7002, netip.MustParseAddr("127.0.0.9")
	if err := s.Apply(t.Context(), []desired.Delta{{Owner: "test", Old: old, New: next}}); err == nil {
		t.Fatal("a taken port was taken")
	}
	talk(t, c, "y")
	talk(t, dial(t, "[::1]:7000"), "z")
	if rows := s.Rows(); len(rows) != 1 || rows[0] != old {
		t.Errorf("rows: %v", rows)
	}
}
