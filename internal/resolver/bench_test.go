package resolver

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/sockets"
	"github.com/linkspan/linkspan/internal/resolver/message"
	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

// crowd is a server that knows n endpoints on one network.
func crowd(b testing.TB, o *loopback, n int, host ...string) *Server {
	s := serverFor(b, o, host...)
	rows := []desired.Row{resolverOn("other", "net")}
	for i := range n {
		rows = append(rows, primary(name("net", fmt.Sprint("container-", i), fmt.Sprint("e", i), fmt.Sprintf("10.0.%d.%d", i/250, i%250+1))))
	}
	apply(b, s, wanted(rows...))
	return s
}

// BenchmarkAnswer is the handling of one packet without its sockets.
func BenchmarkAnswer(b *testing.B) {
	for _, n := range []int{1, 10000} {
		b.Run(fmt.Sprint("names=", n), func(b *testing.B) {
			s := crowd(b, newLoopback(), n)
			raw, _ := new(dns.Msg).SetQuestion("container-0.", dns.TypeA).Pack()
			var q message.Query
			var w writer
			b.ReportAllocs()
			for b.Loop() {
				if s.listeners["box"].datagram(raw, netip.AddrPort{}, &q, &w) == nil {
					b.Fatal("no answer")
				}
			}
		})
	}
}

// BenchmarkApply is one endpoint coming and going among many.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprint("names=", n), func(b *testing.B) {
			s := crowd(b, newLoopback(), n)
			row := primary(name("net", "new", "new", "10.1.0.1"))
			for b.Loop() {
				apply(b, s, wanted(row))
				apply(b, s, unwanted(row))
			}
		})
	}
}

// BenchmarkLocalNames asks over real sockets, with as many questions under way
// as the name says, and reports queries per second.
func BenchmarkLocalNames(b *testing.B) {
	for _, flight := range []int{1, 16, 64} {
		b.Run(fmt.Sprint("flight=", flight), func(b *testing.B) {
			o := newLoopback()
			crowd(b, o, 1000)
			conn, err := net.Dial("udp4", o.udp["box"])
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			raw, _ := new(dns.Msg).SetQuestion("container-7.", dns.TypeA).Pack()
			reply := make([]byte, message.PlainUDP)
			b.ResetTimer()
			for sent, got := 0, 0; got < b.N; {
				for ; sent < b.N && sent-got < flight; sent++ {
					if _, err := conn.Write(raw); err != nil {
						b.Fatal(err)
					}
				}
				if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Read(reply); err != nil {
					b.Fatalf("after %d of %d answers: %v", got, b.N, err)
				}
				got++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
		})
	}
}

// BenchmarkFlood keeps many questions of several clients under way, as a load
// generator does, and reports queries per second and how much of the time is
// spent by the process as a whole, clients included.
func BenchmarkFlood(b *testing.B) {
	for _, c := range []struct{ what, name string }{{"local", "container-7."}, {"cached", "world.test."}} {
		b.Run(c.what, func(b *testing.B) {
			o := newLoopback()
			o.Serve(b, "192.0.2.1", upstreamtest.Says("one"))
			s := crowd(b, o, 1000, "192.0.2.1")
			s.forward.now = func() time.Time { return time.Unix(1, 0) } // kept for ever
			raw, _ := new(dns.Msg).SetQuestion(c.name, dns.TypeTXT).Pack()
			if c.what == "local" {
				raw, _ = new(dns.Msg).SetQuestion(c.name, dns.TypeA).Pack()
			}
			ask(b, o, "udp", c.name, dns.TypeTXT)
			f := newFlooder(b, o.udp["box"], raw)
			defer f.close()
			before := usage(b)
			b.ReportAllocs()
			b.ResetTimer()
			f.run(b, b.N, 256)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
			b.ReportMetric(float64((usage(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkUncached asks new names in a network namespace of its own, where the
// name server is too, with as many under way as the name says. The processor time is
// that of all three: resolver, client and name server.
func BenchmarkUncached(b *testing.B) {
	spaces := kerneltest.New(b).Namespaces(b)
	if err := spaces.Do(b.Context(), "", raiseLoopback); err != nil {
		b.Fatal(err)
	}
	upstream, err := spaces.ListenPacket(b.Context(), "", "udp4", netip.MustParseAddrPort("127.0.0.1:53"))
	if err != nil {
		b.Fatal(err)
	}
	defer upstream.Close()
	go echo(upstream.(*net.UDPConn))
	for _, flight := range []int{1, 128} {
		b.Run(fmt.Sprint("flight=", flight), func(b *testing.B) {
			s := New(Options{Opener: sockets.Opener{Namespaces: spaces}, HostServers: func() []netip.Addr { return addrs("127.0.0.1") }})
			defer s.Close()
			row := resolverOn("net")
			row.Namespace = ""
			apply(b, s, wanted(row))
			s.listeners[""].rate.rate, s.forward.rate.rate = 1<<30, 1<<30 // no bound
			var conn net.Conn
			err := spaces.Do(b.Context(), "", func() (err error) {
				conn, err = net.Dial("udp4", "127.0.0.11:53")
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			raw, _ := new(dns.Msg).SetQuestion("00000000.test.", dns.TypeA).Pack()
			reply := make([]byte, message.PlainUDP)
			before := usage(b)
			b.ReportAllocs()
			b.ResetTimer()
			for sent, got := 0, 0; got < b.N; got++ {
				for ; sent < b.N && sent-got < flight; sent++ {
					copy(raw[message.HeaderSize+1:], fmt.Sprintf("%08d", sent))
					if _, err := conn.Write(raw); err != nil {
						b.Fatal(err)
					}
				}
				if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Read(reply); err != nil || reply[3]&0xf != 0 {
					b.Fatalf("after %d of %d answers: %x, %v", got, b.N, reply[:message.HeaderSize], err)
				}
			}
			b.ReportMetric(float64((usage(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// echo answers every query with its question.
func echo(conn *net.UDPConn) {
	buf := make([]byte, message.PlainUDP)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		buf[2] |= 0x80
		_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
	}
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
