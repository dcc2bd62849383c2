package resolver

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
)

// crowd is a server that knows n endpoints on one network.
func crowd(b *testing.B, o *loopback, n int) *Server {
	s := serverFor(b, o)
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
			var q query
			var w writer
			b.ReportAllocs()
			for b.Loop() {
				if s.listeners["box"].datagram(b.Context(), raw, netip.AddrPort{}, &q, &w) == nil {
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
			reply := make([]byte, plainUDP)
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
