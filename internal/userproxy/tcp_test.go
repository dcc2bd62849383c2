package userproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// TestProxyTCP: both families, with and without a reservation, of one address
// or of all.
func TestProxyTCP(t *testing.T) {
	v4, v6 := listen(t, "127.0.0.1:0", echo), listen(t, "[::1]:0", echo)
	for _, c := range []struct {
		reserve, host, target, dial string
	}{
		{"", "::1", v4, "[::1]:7000"},
		{"::1", "::1", v4, "[::1]:7000"},
		{"::", "::1", v4, "[::1]:7000"},
		{"::", "::", v4, "[::1]:7000"},
		{"::", "::1", v6, "[::1]:7000"},
		{"0.0.0.0", "127.0.0.3", v4, "127.0.0.3:7000"},
		{"0.0.0.0", "0.0.0.0", v6, "127.0.0.3:7000"},
		{"", "127.0.0.3", v4, "127.0.0.3:7000"},
	} {
		t.Run(fmt.Sprintf("%s within %s to %s", c.host, c.reserve, c.target), func(t *testing.T) {
			s := start(t)
			if c.reserve != "" {
				hold(t, s, reserve(model.TCP, c.reserve, 7000))
			}
			row := to(model.TCP, c.host, 7000, 7000, c.target)
			apply(t, s, wanted(row))
			apply(t, s, wanted(row))
			if got := talk(t, dial(t, c.dial), "hello"); got != "hello" {
				t.Errorf("got %q", got)
			}
			if s.table.Len() != 1 {
				t.Errorf("%d sockets", s.table.Len())
			}
			apply(t, s, unwanted(row))
			if c.reserve != "" {
				if !silent(t, c.dial) {
					t.Error("the port answers without the row")
				}
			} else if _, err := net.Dial("tcp", c.dial); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("a port that nobody has: %v", err)
			}
		})
	}
}

// TestProxyOnlyItsAddress: the other addresses of the socket stay closed.
func TestProxyOnlyItsAddress(t *testing.T) {
	s := start(t)
	one := listen(t, "127.0.0.1:0", func(c *net.TCPConn) { io.WriteString(c, "one") })
	two := listen(t, "127.0.0.1:0", func(c *net.TCPConn) { io.WriteString(c, "two") })
	hold(t, s, reserve(model.TCP, "0.0.0.0", 7000))
	apply(t, s, wanted(to(model.TCP, "127.0.0.2", 7000, 7000, one), to(model.TCP, "127.0.0.3", 7000, 7000, two)))
	for host, want := range map[string]string{"127.0.0.2": "one", "127.0.0.3": "two"} {
		if got, err := io.ReadAll(dial(t, host+":7000")); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v", host, got, err)
		}
	}
	if !silent(t, "127.0.0.1:7000") {
		t.Error("127.0.0.1 answers")
	}
}

// TestConnectionPastTheFilterIsReset: where no filter tells addresses apart,
// accept does.
func TestConnectionPastTheFilterIsReset(t *testing.T) {
	s := start(t)
	target := listen(t, "127.0.0.1:0", echo)
	hold(t, s, reserve(model.TCP, "0.0.0.0", 7000))
	host := netip.MustParseAddr("127.0.1.0")
	for range maxHosts + 1 {
		host = host.Next()
		apply(t, s, wanted(to(model.TCP, host.String(), 7000, 7000, target)))
	}
	if got := talk(t, dial(t, host.String()+":7000"), "x"); got != "x" {
		t.Errorf("got %q", got)
	}
	if err := refusal("127.0.0.1:7000"); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("an address without a row: %v", err)
	}
}

func TestProxyRange(t *testing.T) {
	s := start(t)
	hold(t, s, reserve(model.TCP, "::", 6000, 7999))
	for _, port := range []string{"9000", "9500", "9999"} {
		listen(t, "127.0.0.1:"+port, func(c *net.TCPConn) { io.WriteString(c, port) })
	}
	row := to(model.TCP, "::1", 7000, 7999, "127.0.0.1:9000")
	apply(t, s, wanted(row))
	for _, port := range []string{"000", "500", "999"} {
		if got, err := io.ReadAll(dial(t, "[::1]:7"+port)); string(got) != "9"+port || err != nil {
			t.Errorf("port 7%s: %q, %v", port, got, err)
		}
	}
	apply(t, s, unwanted(row))
	if s.table.Len() != 0 {
		t.Errorf("%d sockets left", s.table.Len())
	}
}

func TestHalfClose(t *testing.T) {
	s := start(t)
	apply(t, s, wanted(to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", afterwards))))
	c := dial(t, "[::1]:7000")
	data := bytes.Repeat([]byte("0123456789"), 300_000)
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if want := fmt.Sprintf("got %d", len(data)); string(got) != want || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	eventually(t, "the connection is forgotten", func() bool { return s.conns.Inside() == 0 })
}

// TestServerEndsFirst: what it said before arrives, and the client may go on
// sending in vain.
func TestServerEndsFirst(t *testing.T) {
	s := start(t)
	apply(t, s, wanted(to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", func(c *net.TCPConn) { io.WriteString(c, "bye") }))))
	c := dial(t, "[::1]:7000")
	if got, err := io.ReadAll(c); string(got) != "bye" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	eventually(t, "sending fails", func() bool { _, err := c.Write([]byte("x")); return err != nil })
	eventually(t, "the connection is forgotten", func() bool { return s.conns.Inside() == 0 })
}

// TestResetPassesThrough: a connection that broke does not look complete.
func TestResetPassesThrough(t *testing.T) {
	broken := make(chan error, 1)
	for name, c := range map[string]struct {
		serve  func(*net.TCPConn)
		client func(*testing.T, *net.TCPConn)
	}{
		"from the server": {
			func(c *net.TCPConn) { c.Read(make([]byte, 1)); c.SetLinger(0) },
			func(t *testing.T, c *net.TCPConn) {
				c.Write([]byte("x"))
				if _, err := io.ReadAll(c); !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("read: %v", err)
				}
			},
		},
		"from the client": {
			func(c *net.TCPConn) { _, err := io.Copy(io.Discard, c); broken <- err },
			func(t *testing.T, c *net.TCPConn) {
				c.Write([]byte("x"))
				c.SetLinger(0)
				c.Close()
				if err := <-broken; !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("the server sees %v", err)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			apply(t, s, wanted(to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", c.serve))))
			c.client(t, dial(t, "[::1]:7000"))
			eventually(t, "the connection is forgotten", func() bool { return s.conns.Inside() == 0 })
		})
	}
}

func TestContainerThatRefuses(t *testing.T) {
	s := start(t)
	apply(t, s, wanted(to(model.TCP, "::1", 7000, 7000, "127.0.0.1:9")))
	if err := refusal("[::1]:7000"); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}

// TestConnectionsGoWithTheirRow: also when another row takes its place.
func TestConnectionsGoWithTheirRow(t *testing.T) {
	s := start(t)
	hold(t, s, reserve(model.TCP, "::", 7000))
	old := to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", echo))
	other := to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", func(c *net.TCPConn) { io.WriteString(c, "new") }))
	apply(t, s, wanted(old))
	c := dial(t, "[::1]:7000")
	talk(t, c, "x")
	apply(t, s, []desired.Delta{{Owner: "test", Old: old, New: other}})
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("connection of the old row: %v", err)
	}
	c = dial(t, "[::1]:7000")
	if got, err := io.ReadAll(c); string(got) != "new" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	apply(t, s, unwanted(other))
	eventually(t, "all is forgotten", func() bool { return s.conns.Inside() == 0 })
}

// TestConnectionsAreBounded: one more than allowed is reset, and a place that
// becomes free can be had.
func TestConnectionsAreBounded(t *testing.T) {
	for _, bound := range []string{"row", "total"} {
		t.Run(bound, func(t *testing.T) {
			s := start(t)
			row := to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", echo))
			if bound == "total" {
				s.conns.Max = 4
			} else {
				s.connsOfRow = 3
			}
			apply(t, s, wanted(row))
			first := dial(t, "[::1]:7000")
			talk(t, first, "x")
			talk(t, dial(t, "[::1]:7000"), "x")
			talk(t, dial(t, "[::1]:7000"), "x")
			if err := refusal("[::1]:7000"); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("fourth connection: %v", err)
			}
			first.Close()
			eventually(t, "a place is free", func() bool { return s.conns.Inside() == 2 })
			talk(t, dial(t, "[::1]:7000"), "x")
		})
	}
}

// TestMuchAtOnce: nothing is lost or mixed up.
func TestMuchAtOnce(t *testing.T) {
	s := start(t)
	hold(t, s, reserve(model.TCP, "::", 7000))
	apply(t, s, wanted(to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", echo))))
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			c, err := net.Dial("tcp", "[::1]:7000")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			data := strings.Repeat(fmt.Sprint(i), 50_000)
			go func() {
				io.WriteString(c, data)
				c.(*net.TCPConn).CloseWrite()
			}()
			if got, err := io.ReadAll(c); string(got) != data || err != nil {
				t.Errorf("connection %d: %d bytes of %d, %v", i, len(got), len(data), err)
			}
		})
	}
	all.Wait()
}

func TestCloseCutsConnections(t *testing.T) {
	s := start(t)
	apply(t, s, wanted(to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", echo))))
	c := dial(t, "[::1]:7000")
	talk(t, c, "x")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("read: %v", err)
	}
	if err := s.Apply(t.Context(), nil); model.KindOf(err) != model.Unavailable {
		t.Errorf("Apply on a closed server: %v", err)
	}
	if err := s.ports.Reserve(t.Context(), nil); model.KindOf(err) != model.Unavailable {
		t.Errorf("Reserve on a closed server: %v", err)
	}
}

// BenchmarkProxyTCP is the throughput of one connection through the proxy,
// compared with one without.
func BenchmarkProxyTCP(b *testing.B) {
	sink := listen(b, "127.0.0.1:0", func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	s := start(b)
	apply(b, s, wanted(to(model.TCP, "::1", 7000, 7000, sink)))
	for name, address := range map[string]string{"direct": sink, "proxied": "[::1]:7000"} {
		b.Run(name, func(b *testing.B) {
			c, err := net.Dial("tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			data := make([]byte, 1<<20)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := c.Write(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkConnect is a connection with one byte each way.
func BenchmarkConnect(b *testing.B) {
	target := listen(b, "127.0.0.1:0", echo)
	s := start(b)
	apply(b, s, wanted(to(model.TCP, "::1", 7000, 7000, target)))
	for name, address := range map[string]string{"direct": target, "proxied": "[::1]:7000"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c, err := net.Dial("tcp", address)
				if err != nil {
					b.Fatal(err)
				}
				if got := talk(b, c, "x"); got != "x" {
					b.Fatal(got)
				}
				c.Close()
			}
		})
	}
}

// BenchmarkRange is what a wide proxy costs to set up and take down.
func BenchmarkRange(b *testing.B) {
	s := start(b)
	row := to(model.TCP, "::1", 10001, 14096, "127.0.0.1:1")
	for b.Loop() {
		apply(b, s, wanted(row))
		apply(b, s, unwanted(row))
	}
}
