package dhcp

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

var discard = slog.New(slog.DiscardHandler)

var request = facts.LeaseRequest{Endpoint: "e1", Device: "eth0", ClientID: []byte{255, 1, 2, 3, 4}, Hostname: "web"}

func TestAcquireSaysWhoAsks(t *testing.T) {
	s := newServer(func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
		return []*dhcpv4.DHCPv4{given4(m, "192.0.2.7", dhcpv4.WithDNS(net.IPv4(192, 0, 2, 53)),
			dhcpv4.WithOption(dhcpv4.OptDomainName("lan.example")), dhcpv4.WithDomainSearchList("a.example", "b.example"),
			dhcpv4.WithOption(dhcpv4.OptNTPServers(net.IPv4(192, 0, 2, 123))), dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{5, 120}))}
	})
	r := request
	r.Want = netip.MustParseAddr("192.0.2.7")
	lease, err := clientOf(t, s, "").Ask(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if lease.Prefix.String() != "192.0.2.7/24" || lease.Gateway != serverIP || lease.MTU != 1400 || lease.Domain != "lan.example" ||
		!slices.Equal(lease.Search, []string{"a.example", "b.example"}) || len(lease.DNS) != 1 || len(lease.NTP) != 1 || lease.Until.Sub(lease.From) != time.Hour {
		t.Errorf("lease %+v", lease)
	}
	for _, m := range s.heard {
		if m.HostName() != "web" || !slices.Equal(m.Options.Get(dhcpv4.OptionClientIdentifier), request.ClientID) ||
			!m.IsBroadcast() || m.RequestedIPAddress().String() != "192.0.2.7" {
			t.Errorf("the client says %s", m.Summary())
		}
	}
	if want := []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest}; !slices.Equal(s.types(), want) {
		t.Errorf("messages %v, want %v", s.types(), want)
	}
}

// TestServersThatMisbehave: each is told what is wrong, and none is believed.
func TestServersThatMisbehave(t *testing.T) {
	one := func(f func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4) func(*dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
		return func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 { return []*dhcpv4.DHCPv4{f(m)} }
	}
	address := func(a string, more ...dhcpv4.Modifier) func(*dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
		return one(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return given4(m, a, more...) })
	}
	for name, c := range map[string]struct {
		answer func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4
		want   string
	}{
		"silent":             {func(*dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 { return nil }, "no DHCP server answers on eth0: asked 4 times"},
		"multicast":          {address("224.0.0.5"), "it is a multicast address"},
		"localhost":          {address("127.0.0.5"), "it is every host's own"},
		"nothing":            {address("0.0.0.0"), "it is no address"},
		"broadcast":          {address("192.0.2.255"), "it is the broadcast address"},
		"the network":        {address("192.0.2.0"), "it is the network's own address"},
		"reserved":           {address("250.1.2.3"), "no host can have it"},
		"a mask with a hole": {address("192.0.2.7", dhcpv4.WithNetmask(net.IPv4Mask(255, 0, 255, 0))), "is no mask of a subnet"},
		"no time":            {address("192.0.2.7", dhcpv4.WithLeaseTime(0)), "too short"},
		"no name":            {address("192.0.2.7", dhcpv4.WithoutOption(dhcpv4.OptionServerIdentifier)), "does not say which server it is"},
		"another's answer":   {one(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { r := given4(m, "192.0.2.7"); r.TransactionID[0]++; return r }), "no DHCP server answers"},
		"another's address": {one(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
			r := given4(m, "192.0.2.7")
			r.ClientHWAddr = otherMAC
			return r
		}), "no DHCP server answers"},
		"refusal": {one(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
			r := given4(m, "192.0.2.7")
			if m.MessageType() == dhcpv4.MessageTypeRequest {
				r.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
			}
			return r
		}), "server 192.0.2.1 refuses"},
		"change of mind": {one(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
			if m.MessageType() == dhcpv4.MessageTypeRequest {
				return given4(m, "192.0.2.8")
			}
			return given4(m, "192.0.2.7")
		}), "offered 192.0.2.7 and then gave 192.0.2.8"},
		"another server confirms": {one(func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
			r := given4(m, "192.0.2.7")
			if m.MessageType() == dhcpv4.MessageTypeRequest {
				r.UpdateOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 66)))
			}
			return r
		}), "no DHCP server answers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := clientOf(t, newServer(c.answer), "").Ask(t.Context(), request)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want %q in it", err, c.want)
			}
		})
	}
}

// TestNoOtherAddressWillDo: one that the user asked for is had or none is, also where
// another one is held already.
func TestNoOtherAddressWillDo(t *testing.T) {
	given := "192.0.2.7"
	s := newServer(func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
		if m.MessageType() == dhcpv4.MessageTypeRelease {
			return nil
		}
		return []*dhcpv4.DHCPv4{given4(m, given)}
	})
	c := clientOf(t, s, "")
	r := request
	r.Want, r.Must = netip.MustParseAddr("192.0.2.8"), true
	_, err := c.Ask(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "requested address 192.0.2.8 is not available") || !strings.Contains(err.Error(), "server 192.0.2.1 offers 192.0.2.7") {
		t.Errorf("error %v", err)
	}
	if want := []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover}; !slices.Equal(s.types(), want) {
		t.Errorf("messages %v, want %v: nothing is asked for that will not do", s.types(), want)
	}
	r.Must = false
	if lease, err := c.Ask(t.Context(), r); err != nil || lease.Prefix.Addr().String() != given {
		t.Errorf("lease %s, %v", lease.Prefix, err)
	}
	r.Must, given = true, "192.0.2.8"
	if lease, err := c.Ask(t.Context(), r); err != nil || lease.Prefix.Addr() != r.Want {
		t.Errorf("lease %s, %v: another one was held", lease.Prefix, err)
	}
	s.holds[r.Want] = otherMAC
	r.Endpoint = "e2"
	if _, err := c.Ask(t.Context(), r); err == nil || !strings.Contains(err.Error(), "02:00:00:00:00:07 has already") {
		t.Errorf("of an address that a machine has: %v", err)
	}
}

func TestAnAddressThatSomebodyHasIsDeclined(t *testing.T) {
	next := 7
	s := newServer(nil)
	s.answer = func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
		if m.MessageType() == dhcpv4.MessageTypeDecline {
			next++
			return nil
		}
		return []*dhcpv4.DHCPv4{given4(m, netip.AddrFrom4([4]byte{192, 0, 2, byte(next)}).String())}
	}
	s.holds[netip.MustParseAddr("192.0.2.7")] = otherMAC
	lease, err := clientOf(t, s, "").Ask(t.Context(), request)
	if err != nil || lease.Prefix.Addr().String() != "192.0.2.8" {
		t.Errorf("lease %s, error %v, want the next address", lease.Prefix, err)
	}
}

// TestALeaseIsKept: it is renewed at its server, outlives the client that asked for it, is
// lost when the server says so, and asked for again; and it is given back.
func TestALeaseIsKept(t *testing.T) {
	s := newServer(nil)
	refuse := make(chan bool, 1)
	address := "192.0.2.7"
	s.answer = func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
		if m.MessageType() == dhcpv4.MessageTypeRelease {
			return nil
		}
		renewal := m.MessageType() == dhcpv4.MessageTypeRequest && !m.ClientIPAddr.IsUnspecified()
		select {
		case <-refuse:
			if renewal {
				address = "192.0.2.8"
				r := given4(m, address)
				r.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
				return []*dhcpv4.DHCPv4{r}
			}
			refuse <- true
		default:
		}
		return []*dhcpv4.DHCPv4{given4(m, address, dhcpv4.WithLeaseTime(2))}
	}
	file := filepath.Join(t.TempDir(), "leases.json")
	first := clientOf(t, s, file)
	before, err := first.Ask(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	first.Pause()
	second := clientOf(t, s, file)
	renewed := until(t, second, func(h facts.HeldLease) bool { return h.Lease.From.After(before.From) })
	if renewed.Lease.Prefix != before.Prefix || renewed.Lost != "" {
		t.Errorf("renewed as %+v", renewed)
	}
	refuse <- true
	lost := until(t, second, func(h facts.HeldLease) bool { return h.Lost != "" || h.Lease.Prefix != before.Prefix })
	if lost.Lost != "" && !strings.Contains(lost.Lost, "does not renew 192.0.2.7") {
		t.Errorf("lost because %q", lost.Lost)
	}
	until(t, second, func(h facts.HeldLease) bool { return h.Lost == "" && h.Lease.Prefix.Addr().String() == "192.0.2.8" })
	if err := second.Return(t.Context(), "e1"); err != nil || !second.Empty() {
		t.Errorf("return: %v, empty %t", err, second.Empty())
	}
	if types := s.types(); types[len(types)-1] != dhcpv4.MessageTypeRelease {
		t.Errorf("messages %v, want a release at last", types)
	}
}

// TestAskedTwiceAtOnce: of two who ask for one endpoint at once the last one's lease is kept,
// and the other's renewed no more.
func TestAskedTwiceAtOnce(t *testing.T) {
	s := newServer(nil)
	s.answer = func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 { return []*dhcpv4.DHCPv4{given4(m, "192.0.2.7")} }
	c := clientOf(t, s, "")
	ended, first := false, true
	c.o.Open = func(string, model.Family) (Line, error) {
		if !first {
			return s, nil
		}
		first = false
		if _, err := c.Ask(t.Context(), request); err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		h := c.leases[keyOf(request)]
		end := h.cancel
		h.cancel = func() { ended = true; end() }
		return s, nil
	}
	if _, err := c.Ask(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if !ended {
		t.Error("the first lease is still renewed")
	}
}

// until waits for the lease to be as wanted.
func until(t *testing.T, c *Client, is func(facts.HeldLease) bool) facts.HeldLease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for seen := uint64(0); ; {
		now, held, err := c.Watch(ctx, seen)
		if err != nil {
			t.Fatal(err)
		}
		if seen = now; len(held) == 1 && is(held[0]) {
			return held[0]
		}
	}
}

func TestRoutesReplaceRouters(t *testing.T) {
	route := func(to string, via string) *dhcpv4.Route {
		_, n, err := net.ParseCIDR(to)
		if err != nil {
			t.Fatal(err)
		}
		return &dhcpv4.Route{Dest: n, Router: net.ParseIP(via)}
	}
	s := newServer(func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
		return []*dhcpv4.DHCPv4{given4(m, "192.0.2.7", dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(
			route("0.0.0.0/0", "192.0.2.2"), route("203.0.113.0/24", "192.0.2.3"), route("203.0.113.0/24", "192.0.2.4"),
			route("198.51.100.0/24", "0.0.0.0"), route("127.0.0.0/8", "192.0.2.3"), route("224.0.0.0/4", "192.0.2.3"), route("10.0.0.0/8", "10.1.1.1"))))}
	})
	lease, err := clientOf(t, s, "").Ask(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range lease.Routes {
		got = append(got, r.String())
	}
	if want := []string{"203.0.113.0/24 via 192.0.2.3", "198.51.100.0/24"}; lease.Gateway.String() != "192.0.2.2" || !slices.Equal(got, want) {
		t.Errorf("gateway %s, routes %q, want 192.0.2.2, %q", lease.Gateway, got, want)
	}
}

// FuzzFrame: whatever comes in, nothing is believed that no host can use.
func FuzzFrame(f *testing.F) {
	m, err := dhcpv4.NewDiscovery(clientMAC)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(toClient(given4(m, "192.0.2.7")))
	f.Add(toClient(given4(m, "224.0.0.1", dhcpv4.WithLeaseTime(1))))
	f.Add(arpReply(otherMAC, serverIP))
	f.Add(make([]byte, etherLen+ipLen+udpLen))
	f.Fuzz(func(t *testing.T, frame []byte) {
		claims(frame, serverIP)
		message, _, err := unpack(frame)
		if err != nil {
			return
		}
		whole, err := dhcpv4.FromBytes(message)
		if err != nil {
			return
		}
		r, err := parse(message, whole.TransactionID, whole.ClientHWAddr)
		if err != nil {
			return
		}
		l, err := r.lease(time.Unix(1e9, 0), 1500)
		if err != nil {
			return
		}
		if why := unusable(l.Prefix); why != "" || l.MTU >= 1500 || len(l.Routes) > maxRoutes || len(l.DNS) > maxServers {
			t.Errorf("%+v is taken: %s", l, why)
		}
		if l.Gateway.IsValid() && !l.Prefix.Contains(l.Gateway) {
			t.Errorf("gateway %s of %s", l.Gateway, l.Prefix)
		}
	})
}
