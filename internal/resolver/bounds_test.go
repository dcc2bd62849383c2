package resolver

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

func TestMeter(t *testing.T) {
	m := rateLimit{rate: 100, burst: 20}
	now := clockStart
	passed := func(tries int) (n int) {
		for range tries {
			if m.allow(now) {
				n++
			}
		}
		return n
	}
	if n := passed(50); n != 20 {
		t.Errorf("%d at once", n)
	}
	total := 0
	for range 1000 {
		now += time.Millisecond
		total += passed(5)
	}
	if total != 100 {
		t.Errorf("%d in a second", total)
	}
	now += time.Hour
	if n := passed(50); n != 20 {
		t.Errorf("%d at once after a pause", n)
	}
	now -= time.Hour
	if n := passed(50); n != 20 {
		t.Errorf("%d at once by a clock that was set back", n)
	}
}

// TestClockSetBack: names of the world are asked for and answered as before, whatever
// becomes of the host's clock.
func TestClockSetBack(t *testing.T) {
	o := newLoopback()
	o.Serve(t, "192.0.2.1", upstreamtest.Says("one"))
	s := serverFor(t, o, "192.0.2.1")
	c := &clock{}
	s.forward.now = c.now
	apply(t, s, wanted(resolverOn("net")))
	for i, step := range []time.Duration{0, -time.Hour, 0, -24 * time.Hour, 48 * time.Hour, -time.Minute} {
		c.advance(step)
		for _, network := range []string{"udp", "tcp"} {
			qname := string(rune('a'+i)) + network + ".test"
			if got := upstreamtest.Brief(ask(t, o, network, qname, dns.TypeTXT)); got != "NOERROR one" {
				t.Errorf("after a step of %s over %s: got %q", step, network, got)
			}
		}
	}
	if !strings.Contains(s.forward.born.String(), "m=") {
		t.Error("the clock of meters follows the clock of the wall")
	}
}
