package resolver

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/resolver/message"
	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

// deaf is a name server at address that takes queries and never says anything.
func (o *loopback) deaf(t *testing.T, address string) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	o.Route(address, conn.LocalAddr())
}

// flood has all ask new questions by turns, more than there are places for.
func flood(floods []*flooder, done, over chan struct{}) {
	defer close(over)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		f := floods[n%len(floods)]
		copy(f.query[message.HeaderSize+1:], fmt.Sprintf("%08d", n))
		f.ask(batchSize)
	}
}

// TestFloodsLeaveRoomForOthers: however many sandboxes take every place they can get
// for queries that nobody answers, one that asks little gets all its answers.
func TestFloodsLeaveRoomForOthers(t *testing.T) {
	for _, flooders := range []int{3, 30} {
		t.Run(fmt.Sprint("flooders=", flooders), func(t *testing.T) {
			o := newLoopback()
			o.deaf(t, "192.0.2.66")
			o.Serve(t, "192.0.2.1", upstreamtest.Says("one"))
			s := serverFor(t, o, "192.0.2.1")
			s.forward.total.Max, s.forward.sockets.Max = 1000, 2000 // so that few are needed
			apply(t, s, wanted(resolverOn("net"), name("net", "web", "e1", "172.18.0.2")))
			if got := upstreamtest.Brief(ask(t, o, "udp", "kept.test", dns.TypeTXT)); got != "NOERROR one" {
				t.Fatalf("before: got %q", got)
			}
			s.forward.answerTime = time.Minute // who has a place keeps it
			var floods []*flooder
			for i := range flooders {
				row := resolverOn(fmt.Sprint("flood", i))
				row.Namespace, row.Servers = fmt.Sprint("flood", i), addrs("192.0.2.66")
				apply(t, s, wanted(row))
				raw, _ := new(dns.Msg).SetQuestion("aaaaaaaa.test.", dns.TypeTXT).Pack()
				f := newFlooder(t, o.udp[row.Namespace], raw)
				t.Cleanup(f.close)
				floods = append(floods, f)
			}
			done, over := make(chan struct{}), make(chan struct{})
			go flood(floods, done, over)
			defer func() { close(done); <-over }()
			await(t, "all have what they can get", func() bool {
				counts := s.Stats().Networks
				for i := range flooders {
					if counts[model.NetworkID(fmt.Sprint("flood", i, "-id"))].Refused == 0 {
						return false
					}
				}
				return true
			})
			for i := range 20 {
				for qname, want := range map[string]string{
					"kept.test": "NOERROR one", fmt.Sprint("new", i, ".test"): "NOERROR one", "web": "NOERROR",
				} {
					if got := upstreamtest.Brief(ask(t, o, []string{"udp", "tcp"}[i%2], qname, dns.TypeTXT)); got != want {
						t.Errorf("%s: got %q, want %q", qname, got, want)
					}
				}
			}
			if n := s.forward.total.Inside(); n < 300 {
				t.Errorf("only %d of 1000 places are taken: that was no flood", n)
			}
		})
	}
}
