package nft

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/published"
	"github.com/linkspan/linkspan/internal/model"
)

// BenchmarkApply adds and removes one pin beside others. The figure must not
// grow with their number.
func BenchmarkApply(b *testing.B) {
	for _, others := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			n := namespaces.New(b)
			backend := newBackend(b, n)
			resync(b, backend, manyPins(others)...)
			one := added(desired.PortSecurity{Port: "veth-one", Bridge: "docker0", MAC: "02:42:ff:00:00:01", Addrs: addrs("172.17.0.2", "fd00:1::2")})
			for b.Loop() {
				apply(b, backend, one...)
				apply(b, backend, one[0].Invert())
			}
		})
	}
}

// BenchmarkResync compares everything and finds nothing to do.
func BenchmarkResync(b *testing.B) {
	n := namespaces.New(b)
	backend := newBackend(b, n)
	rows := manyPins(1000)
	resync(b, backend, rows...)
	for b.Loop() {
		resync(b, backend, rows...)
	}
}

// manyPorts is one row for each port and family, to containers of a /16.
func manyPorts(count int, first uint16) (rows []desired.Row) {
	for i := range count {
		port := first + uint16(i)
		rows = append(rows,
			publish(model.TCP, "0.0.0.0", port, port, netip.AddrFrom4([4]byte{172, 17, byte(i >> 8), byte(i) | 1}).String(), 80),
			publish(model.TCP, "::", port, port, netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(i >> 8), 15: byte(i) | 1}).String(), 80))
	}
	return rows
}

// TestTenThousandPorts publishes them in both families and removes them again.
func TestTenThousandPorts(t *testing.T) {
	n := namespaces.New(t)
	b := newBackend(t, n)
	rows := manyPorts(10000, 20000)
	deltas := added(rows...)
	start := time.Now()
	apply(t, b, deltas...)
	t.Logf("published in %v", time.Since(start))
	start = time.Now()
	if r := resync(t, b, rows...); r.Writes != 0 {
		t.Errorf("resync: %d writes, %q", r.Writes, r.Drift)
	}
	t.Logf("compared in %v", time.Since(start))
	n.NFT("delete element inet linkspan ports4_any { tcp . 29999 }; flush map inet linkspan ports6_any")
	if r, err := b.Check(t.Context(), rows); err != nil || len(r.Drift) != 1+4 {
		t.Errorf("check: %q, %v", r.Drift, err)
	}
	if r := resync(t, b, rows...); r.Writes != 10001 {
		t.Errorf("repair: %d writes", r.Writes)
	}
	for i := range deltas {
		deltas[i] = deltas[i].Invert()
	}
	start = time.Now()
	apply(t, b, deltas...)
	t.Logf("removed in %v", time.Since(start))
	if r := resync(t, b); r.Writes != 0 {
		t.Errorf("left over: %d writes, %q", r.Writes, r.Drift)
	}
}

// TestRangeIsOneElement publishes all ports there are.
func TestRangeIsOneElement(t *testing.T) {
	n := namespaces.New(t)
	b := newBackend(t, n)
	rows := []desired.Row{
		publish(model.UDP, "0.0.0.0", 1, 65535, "172.17.0.2", 1),
		publish(model.UDP, "::", 1, 65535, "fd00:1::2", 1),
	}
	if r := resync(t, b); r.Writes == 0 {
		t.Error("no skeleton was written")
	}
	if r := resync(t, b, rows...); r.Writes != 2*len(rows) {
		t.Errorf("%d writes", r.Writes)
	}
}

// BenchmarkPublish publishes ports in both families beside 10 000 others, and
// removes them.
func BenchmarkPublish(b *testing.B) {
	for _, others := range []int{0, 10000} {
		for _, count := range []int{1, 100, 1000, 10000} {
			b.Run(fmt.Sprintf("ports=%d,others=%d", count, others), func(b *testing.B) {
				backend := newBackend(b, namespaces.New(b))
				resync(b, backend, manyPorts(others, 40000)...)
				on := added(manyPorts(count, 20000)...)
				off := make([]desired.Delta, len(on))
				for i, d := range on {
					off[i] = d.Invert()
				}
				var publishing time.Duration
				for b.Loop() {
					start := time.Now()
					apply(b, backend, on...)
					publishing += time.Since(start)
					apply(b, backend, off...)
				}
				b.ReportMetric(float64(publishing.Milliseconds())/float64(b.N), "publish-ms/op")
			})
		}
	}
}

// BenchmarkConnect opens connections to a published port and closes them. The
// figure must not grow with the number of other ports.
func BenchmarkConnect(b *testing.B) {
	for _, others := range []int{0, 10000} {
		for _, from := range []string{"outside", "localhost", "hairpin"} {
			b.Run(fmt.Sprintf("from=%s,others=%d", from, others), func(b *testing.B) {
				s := published.NewHost(b, backend, false, append(published.Ports(), manyPorts(others, 20000)...)...)
				n, address := s.Out, "192.0.2.1:8080"
				switch from {
				case "localhost":
					n, address = s.Host, "127.0.0.1:8080"
				case "hairpin":
					n = s.Web
				}
				n.Do(func() error {
					for b.Loop() {
						c, err := net.Dial("tcp", address)
						if err != nil {
							return err
						}
						// A reset spares both ends the wait for late packets.
						if err := errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close()); err != nil {
							return err
						}
					}
					return nil
				})
			})
		}
	}
}

// BenchmarkTraffic reads the counters of many ports.
func BenchmarkTraffic(b *testing.B) {
	backend := newBackend(b, namespaces.New(b))
	resync(b, backend, manyPorts(1000, 20000)...)
	for b.Loop() {
		if _, err := backend.Traffic(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
