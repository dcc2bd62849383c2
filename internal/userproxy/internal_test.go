package userproxy

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// TestNothingForInternalNetworks: without a rule that would drop it before, what comes
// by the bridge of an internal network gets nothing: no connection, no answer.
func TestNothingForInternalNetworks(t *testing.T) {
	addresses(t, "fd00:77::1/128")
	s := start(t)
	tcp := to(model.TCP, "::", 7000, 7000, listen(t, "127.0.0.1:0", echo))
	udp := to(model.UDP, "::", 7000, 7000, mirror(t, "127.0.0.1:0"))
	cast := rest(to(model.UDP, "0.0.0.0", 7000, 7000, mirror(t, "127.0.0.1:0")))
	cast.Bridge = "br-test"
	inside := desired.BridgePolicy{Bridge: "lo", Internal: true} // as if it were one
	other := desired.BridgePolicy{Bridge: "br-other", Internal: true}
	apply(t, s, wanted(tcp, udp, cast, other))
	answers := func(network, at string) bool {
		t.Helper()
		to, err := net.ResolveUDPAddr(network, at)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.ListenUDP(network, nil) // the answer may come from another address
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.WriteTo([]byte("x"), to); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		n, _ := c.Read(make([]byte, 9))
		return n > 0
	}
	all := [][2]string{{"udp6", "[::1]:7000"}, {"udp6", "[fd00:77::1]:7000"}, {"udp4", "127.255.255.255:7000"}}
	for _, one := range all {
		eventually(t, one[0]+" "+one[1]+" answers", func() bool { return answers(one[0], one[1]) })
	}
	if got := talk(t, dial(t, "[fd00:77::1]:7000"), "x"); got != "x" {
		t.Errorf("over TCP: %q", got)
	}
	apply(t, s, wanted(inside))
	for _, one := range all {
		if answers(one[0], one[1]) {
			t.Errorf("%s %s answers an internal network", one[0], one[1])
		}
	}
	for _, at := range []string{"[::1]:7000", "[fd00:77::1]:7000"} {
		if err := refusal(at); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%s over TCP: %v", at, err)
		}
	}
	want := stateOf(t, tcp, udp, cast, inside, other)
	if got := resync(t, s, want); len(got) != 0 {
		t.Errorf("resync: %q", got)
	}

	// The next keeper is told.
	next := start(t)
	handOver(t, s, next)
	if err := refusal("[::1]:7000"); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the next one, over TCP: %v", err)
	}
	if got := resync(t, next, want); len(got) != 0 {
		t.Errorf("the next one, resync: %q", got)
	}
	if got := resync(t, next, stateOf(t, tcp, udp, cast, other)); len(got) != 1 || got[0] != "left over: policy bridge lo internal=true icc=false" {
		t.Errorf("it is not internal any more: %q", got)
	}
	if got := talk(t, dial(t, "[::1]:7000"), "x"); got != "x" {
		t.Errorf("afterwards: %q", got)
	}
	apply(t, next, wanted(inside))
	apply(t, next, unwanted(inside))
	if got := talk(t, dial(t, "[::1]:7000"), "x"); got != "x" {
		t.Errorf("removed: %q", got)
	}
}
