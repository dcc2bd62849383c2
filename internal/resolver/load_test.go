package resolver

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/resolver/message"
	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

// flooder asks one question over and over, many at a time.
type flooder struct {
	conn  *net.UDPConn
	pipe  *batchConn
	pipe2 *batchConn // for reading beside
	query []byte

	answers atomic.Int64
}

func newFlooder(t testing.TB, where string, query []byte) *flooder {
	t.Helper()
	conn, err := net.Dial("udp4", where)
	if err != nil {
		t.Fatal(err)
	}
	f := &flooder{conn: conn.(*net.UDPConn), query: query}
	enlarge(f.conn)
	spare := &sync.Pool{New: func() any { return newBatch() }}
	for _, p := range []**batchConn{&f.pipe, &f.pipe2} {
		if *p, err = newBatchConn(f.conn, spare); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *flooder) close() { f.conn.Close() }

// ask sends n queries, at most batchSize.
func (f *flooder) ask(n int) {
	f.pipe.batch = f.pipe.spare.Get().(*batch)
	b := f.pipe.batch
	for b.packets = 0; b.packets < n; b.packets++ {
		v, out := &b.vectors[b.packets], &b.outgoing[b.packets].header
		v.Base = &f.query[0]
		v.SetLen(len(f.query))
		*out = unix.Msghdr{Iov: v} // connected
		out.SetIovlen(1)
	}
	f.pipe.send()
	f.pipe.release()
}

// run asks until there are total answers, with at most flight under way.
func (f *flooder) run(t testing.TB, total, flight int) {
	for sent, got := 0, 0; got < total; {
		for room := min(flight-(sent-got), total-sent); room > 0; room = min(flight-(sent-got), total-sent) {
			n := min(room, batchSize)
			f.ask(n)
			sent += n
		}
		if err := f.conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		b, err := f.pipe.receive()
		if err != nil {
			t.Fatalf("after %d of %d answers: %v", got, total, err)
		}
		for i := range b.count {
			if m := b.message(i); len(m) < message.HeaderSize || m[3]&0xf != 0 || m[7] != 1 {
				t.Fatalf("answer %x", m)
			}
		}
		got += b.count
		f.pipe.release()
	}
}

// usage is the processor time that the process has taken so far.
func usage(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// pace asks rate questions a second until stop, and leaves the answers alone.
func (f *flooder) pace(rate int, vary bool, stop *atomic.Bool) {
	go func() { // answers that nobody reads would be cheaper than real ones
		for b, err := f.pipe2.receive(); err == nil; b, err = f.pipe2.receive() {
			f.answers.Add(int64(b.count))
			f.pipe2.release()
		}
	}()
	begin := time.Now()
	for sent := 0; !stop.Load(); {
		due := int(time.Since(begin).Seconds()*float64(rate)) - sent
		if due < batchSize {
			time.Sleep(time.Millisecond / 4) // the rate
			continue
		}
		if vary {
			// A label of eight letters comes first.
			for i, n := 0, sent; i < 8; i, n = i+1, n/20 {
				f.query[message.HeaderSize+1+i] = 'a' + byte(n%20)
			}
		}
		f.ask(batchSize)
		sent += batchSize
	}
}

// BenchmarkNeighbour measures how long a sandbox waits for its answers while
// others ask 50 000 questions a second each.
func BenchmarkNeighbour(b *testing.B) {
	for _, c := range []struct {
		what     string
		flooders int
		qname    string
	}{
		{"quiet", 0, ""}, {"one/local", 1, "container-7."}, {"three/local", 3, "container-7."},
		{"one/cached", 1, "world.test."}, {"one/uncached", 1, "aaaaaaaa.test."}, {"three/uncached", 3, "aaaaaaaa.test."},
	} {
		b.Run(c.what, func(b *testing.B) {
			o := newLoopback()
			o.Serve(b, "192.0.2.1", upstreamtest.Says("one"))
			s := crowd(b, o, 1000, "192.0.2.1")
			var stop atomic.Bool
			var all sync.WaitGroup
			var floods []*flooder
			for i := range c.flooders {
				row := resolverOn("net")
				row.Namespace = string(rune('a' + i))
				apply(b, s, wanted(row))
				raw, _ := new(dns.Msg).SetQuestion(c.qname, dns.TypeA).Pack()
				f := newFlooder(b, o.udp[row.Namespace], raw)
				floods = append(floods, f)
				all.Go(func() { f.pace(50_000, c.qname[0] == 'a', &stop) })
			}
			waits := make([]time.Duration, 0, b.N)
			for b.Loop() {
				begin := time.Now()
				ask(b, o, "udp", "container-8.", dns.TypeA)
				waits = append(waits, time.Since(begin))
			}
			stop.Store(true)
			all.Wait()
			got := int64(0)
			for _, f := range floods {
				got += f.answers.Load()
				f.close()
			}
			slices.Sort(waits)
			b.ReportMetric(float64(waits[len(waits)*50/100].Microseconds()), "p50-µs")
			b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(got)/b.Elapsed().Seconds(), "flood-answers/s")
		})
	}
}
