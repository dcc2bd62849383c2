package userproxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/portsocket/porttest"
)

// ports answers every connection at many addresses with the port it came to, as a
// container does that listens at each port of a range.
func ports(t testing.TB, first, last uint16) {
	t.Helper()
	for port := int(first); port <= int(last); port++ {
		listen(t, fmt.Sprintf("127.0.0.1:%d", port), func(c *net.TCPConn) { fmt.Fprintf(c, "%5d", port) })
	}
}

// answer reads what ports says.
func answer(t testing.TB, c net.Conn) string {
	t.Helper()
	b := make([]byte, 5)
	if _, err := c.Read(b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestWideProxyHasOneSocket: all ports of a range are served, each leads to its
// own, and what lies beside it does not.
func TestWideProxyHasOneSocket(t *testing.T) {
	s := start(t)
	ports(t, 20000, 20002)
	ports(t, 24999, 25000)
	hold(t, s, reserve(model.TCP, "::1", 10000, 15000))
	before := openFiles(t)
	row := to(model.TCP, "::1", 10000, 15000, "127.0.0.1:20000")
	apply(t, s, wanted(row))
	if n := openFiles(t) - before; n > 6 || s.table.Len() != 1 {
		t.Errorf("%d descriptors, %d sockets", n, s.table.Len())
	}
	for port, want := range map[int]string{10000: "20000", 10001: "20001", 10002: "20002", 14999: "24999", 15000: "25000"} {
		if got := answer(t, dial(t, fmt.Sprintf("[::1]:%d", port))); got != want {
			t.Errorf("port %d leads to %s, want %s", port, got, want)
		}
	}
	for _, at := range []string{"[::1]:9999", "[::1]:15001"} {
		if err := refusal(at); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v", at, err)
		}
	}
	apply(t, s, wanted(row))
	apply(t, s, unwanted(row))
	if err := refusal("[::1]:10001"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("afterwards: %v", err)
	}
	if s.table.Len() != 0 {
		t.Errorf("%d sockets are left", s.table.Len())
	}
}

// TestWideProxysBesideEachOther: one goes, or leads elsewhere, and the other does
// not notice.
func TestWideProxysBesideEachOther(t *testing.T) {
	s := start(t)
	ports(t, 20000, 20001)
	one := to(model.TCP, "::", 10000, 12000, "127.0.0.1:20000")
	other := to(model.TCP, "::1", 5000, 7000, "127.0.0.1:20000")
	apply(t, s, wanted(one, other))
	moved := other
	moved.ToFirst = 20000 - 1
	for i, step := range []func(){
		func() {},
		func() { apply(t, s, wanted(moved)) },
		func() { apply(t, s, unwanted(moved)) },
	} {
		step()
		if got := answer(t, dial(t, "[::1]:10001")); got != "20001" {
			t.Errorf("step %d: the first leads to %s", i, got)
		}
		if want := []string{"20001", "20000", ""}[i]; want != "" {
			if got := answer(t, dial(t, "[::1]:5001")); got != want {
				t.Errorf("step %d: the other leads to %s, want %s", i, got, want)
			}
		}
	}
	if err := refusal("[::1]:5001"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the other, afterwards: %v", err)
	}
}

// TestWideProxyOfUDP: answers come from the port that was asked, and the sockets
// for that go with the clients.
func TestWideProxyOfUDP(t *testing.T) {
	s := start(t)
	mirror(t, "127.0.0.1:20500")
	row := to(model.UDP, "::1", 10000, 12000, "127.0.0.1:20000")
	apply(t, s, wanted(row))
	var first string
	for i := range 3 {
		c, err := net.Dial("udp6", "[::1]:10500") // connected: hears only that port
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got := ask(t, c, "hello")
		if again := ask(t, c, "hello"); again != got {
			t.Errorf("one client is %q and %q", got, again)
		}
		if i == 0 {
			first = got
		} else if got == first {
			t.Errorf("two clients are the same: %q", got)
		}
	}
	l := s.proxies[row.Key()]
	answering := func() int {
		l.replies.mu.Lock()
		defer l.replies.mu.Unlock()
		return len(l.replies.of)
	}
	if got := answering(); got != 1 {
		t.Errorf("%d sockets that answer", got)
	}
	apply(t, s, unwanted(row))
	eventually(t, "the sockets that answered are closed", func() bool { return answering() == 0 })
	expectBind(t, "udp6", "[::1]:10500", nil)
}

// TestDatagramsToTheHostItself: an answer that the host waits for reaches it, though
// its port lies in a range.
func TestDatagramsToTheHostItself(t *testing.T) {
	s := start(t)
	apply(t, s, wanted(to(model.UDP, "::", 1, 65535, "127.0.0.1:1")))
	c, err := net.ListenPacket("udp6", "[::1]:0") // the kernel chooses
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	from, err := net.Dial("udp6", c.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	b := make([]byte, 16)
	eventually(t, "the answer", func() bool {
		if _, err := from.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		n, _, err := c.ReadFrom(b)
		return err == nil && string(b[:n]) == "x"
	})
}

// TestWideProxyIsHandedOver: connections that wait are taken by the successor, and
// UDP clients go on as the same.
func TestWideProxyIsHandedOver(t *testing.T) {
	first, second := start(t), start(t)
	ports(t, 20500, 20500)
	mirror(t, "127.0.0.1:20500")
	tcp, udp := to(model.TCP, "::", 10000, 12000, "127.0.0.1:20000"), to(model.UDP, "::", 10000, 12000, "127.0.0.1:20000")
	hold(t, first, reserve(model.TCP, "::", 10000, 12000), reserve(model.UDP, "::", 10000, 12000))
	apply(t, first, wanted(tcp, udp))
	client, err := net.Dial("udp6", "[::1]:10500")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	before := ask(t, client, "hello")
	rows := first.Rows()
	handed := first.HandOver()
	waiting := dial(t, "[::1]:10500") // nobody accepts
	if err := second.Adopt(t.Context(), sent(t, handed), rows); err != nil {
		t.Fatal(err)
	}
	if err := first.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, waiting); got != "20500" {
		t.Errorf("the connection that waited: %q", got)
	}
	if got := answer(t, dial(t, "[::1]:10500")); got != "20500" {
		t.Errorf("a new connection: %q", got)
	}
	if after := ask(t, client, "hello"); after != before {
		t.Errorf("the UDP client was %q and is %q", before, after)
	}
	if os.Getenv(porttest.CgroupVar) != "" {
		expectBind(t, "tcp6", "[::1]:10500", unix.EADDRINUSE)
	}
}
