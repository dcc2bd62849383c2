package resolver

import (
	"fmt"
	"testing"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
)

// TestCrowdUnderOneName gives one name to 500 endpoints. A client asks over UDP,
// is told that there is more, and gets all of them over TCP; whatever it asks
// over, each address is the first one about equally often.
func TestCrowdUnderOneName(t *testing.T) {
	const crowd = 500
	rows := []desired.Row{resolverOn("front")}
	for i := range crowd {
		v4, v6 := fmt.Sprintf("172.18.%d.%d", 1+i/250, 1+i%250), fmt.Sprintf("fd00::%x", 1+i)
		rows = append(rows, name("front", "crowd", fmt.Sprintf("e%d", i), v4, v6))
	}
	o := newLoopback()
	apply(t, serverFor(t, o), wanted(rows...))
	for _, c := range []struct {
		qtype uint16
		fits  map[int]int // records in an answer of so many bytes, the question and OPT among them
	}{
		{dns.TypeA, map[int]int{512: (512 - 12 - 11 - 11) / 16, 1232: (1232 - 12 - 11 - 11) / 16, 65000: crowd}},
		{dns.TypeAAAA, map[int]int{512: (512 - 12 - 11 - 11) / 28, 1232: (1232 - 12 - 11 - 11) / 28, 65000: crowd}},
	} {
		for size, fits := range c.fits {
			r := crowdAsked(t, "udp", o.udp["box"], c.qtype, uint16(size))
			r.Compress = true // as it came
			if len(r.Answer) != fits || r.Truncated != (fits < crowd) || r.Len() > size {
				t.Errorf("%s in %d bytes: %d records, truncated %t, want %d", dns.TypeToString[c.qtype], size, len(r.Answer), r.Truncated, fits)
			}
		}
		whole := map[string]bool{}
		r := crowdAsked(t, "tcp", o.tcp["box"], c.qtype, 512)
		for _, rr := range r.Answer {
			whole[dns.Field(rr, 1)] = true
		}
		if len(whole) != crowd || r.Truncated {
			t.Errorf("%s over TCP: %d of %d addresses, truncated %t", dns.TypeToString[c.qtype], len(whole), crowd, r.Truncated)
		}
	}
	fairCrowd(t, o, crowd)
}

// fairCrowd asks so often that each address is the first one twenty times on
// average; with fair dice the bounds are left once in a million runs.
func fairCrowd(t *testing.T, o *loopback, crowd int) {
	const average, most = 20, 60
	first := map[string]int{}
	conn, err := dns.Dial("udp", o.udp["box"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	m := new(dns.Msg).SetQuestion("crowd.", dns.TypeA)
	for range average * crowd {
		r, _, err := new(dns.Client).ExchangeWithConn(m, conn)
		if err != nil {
			t.Fatal(err)
		}
		first[dns.Field(r.Answer[0], 1)]++
	}
	for address, n := range first {
		if n > most {
			t.Errorf("%s came first %d times, not some %d", address, n, average)
		}
	}
	if len(first) != crowd {
		t.Errorf("%d of %d addresses ever came first", len(first), crowd)
	}
}

func crowdAsked(t *testing.T, network, address string, qtype, size uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion("crowd.", qtype)
	m.SetEdns0(size, false)
	r, _, err := (&dns.Client{Net: network, UDPSize: size}).Exchange(m, address)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
