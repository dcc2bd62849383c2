package dhcp

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

var (
	routerMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0xfe}
	routerIP  = netip.MustParseAddr("fe80::1")
	request6  = facts.LeaseRequest{Endpoint: "e1", IPv6: true, Device: "eth0", MAC: "02:00:00:00:00:01", Hostname: "web",
		ClientID: []byte{0xff, 1, 2, 3, 4, 0, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}
)

// link6 is a link with a router and a server, as far as they are there.
type link6 struct {
	advertises func() []byte // what the router says; nil: there is none
	answer     func(m *dhcpv6.Message) *dhcpv6.Message

	mu     sync.Mutex
	heard  []dhcpv6.MessageType
	frames chan []byte
}

func newLink6(advertises func() []byte, answer func(m *dhcpv6.Message) *dhcpv6.Message) *link6 {
	return &link6{advertises: advertises, answer: answer, frames: make(chan []byte, 1000)}
}

func (l *link6) MAC() net.HardwareAddr { return clientMAC }
func (l *link6) MTU() int              { return 1500 }
func (l *link6) Close() error          { return nil }

func (l *link6) Send(frame []byte) error {
	p, err := unpack6(slices.Clone(frame))
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case p.protocol == protocolICMPv6 && p.payload[0] == routerSolicitation && l.advertises != nil:
		l.frames <- packet6{routerMAC, p.fromMAC, routerIP, p.from, protocolICMPv6, hopsOnLink, l.advertises()}.pack()
	case p.protocol == protocolUDP:
		m, err := dhcpv6.MessageFromBytes(p.payload[udpLen:])
		if err != nil {
			return err
		}
		l.heard = append(l.heard, m.MessageType)
		if l.answer == nil {
			return nil
		}
		if r := l.answer(m); r != nil {
			l.frames <- toClient6(p, r.ToBytes())
		}
	}
	return nil
}

func toClient6(p packet6, message []byte) []byte {
	q := toServers(serverMAC, netip.MustParseAddr("fe80::9"), message)
	q.toMAC, q.to = p.fromMAC, p.from
	binary.BigEndian.PutUint16(q.payload[0:], serverPort6)
	binary.BigEndian.PutUint16(q.payload[2:], clientPort6)
	return q.pack()
}

func (l *link6) Receive(ctx context.Context) ([]byte, error) {
	select {
	case f := <-l.frames:
		return f, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// says is a router's advertisement: flags, lifetime in seconds, options.
func says(flags byte, lifetime uint16, options ...[]byte) func() []byte {
	return func() []byte {
		b := []byte{routerAdvertisement, 0, 0, 0, 64, flags, byte(lifetime >> 8), byte(lifetime), 0, 0, 0, 0, 0, 0, 0, 0}
		return append(b, slices.Concat(options...)...)
	}
}

func prefixOption(prefix string, flags byte, valid, preferred uint32) []byte {
	p := netip.MustParsePrefix(prefix)
	a := p.Addr().As16()
	b := append([]byte{optionPrefix, 4, byte(p.Bits()), flags}, binary.BigEndian.AppendUint32(nil, valid)...)
	b = append(binary.BigEndian.AppendUint32(b, preferred), 0, 0, 0, 0)
	return append(b, a[:]...)
}

const managed, autonomousOnLink = 0x80, 0xc0

// given6 is an honest answer.
func given6(m *dhcpv6.Message, address string, valid time.Duration) *dhcpv6.Message {
	kind := dhcpv6.MessageTypeReply
	if m.MessageType == dhcpv6.MessageTypeSolicit {
		kind = dhcpv6.MessageTypeAdvertise
	}
	ia := m.Options.OneIANA()
	out := &dhcpv6.OptIANA{IaId: ia.IaId}
	out.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(address), PreferredLifetime: valid, ValidLifetime: valid})
	r, err := dhcpv6.NewMessage(dhcpv6.WithClientID(m.Options.ClientID()), dhcpv6.WithOption(out),
		dhcpv6.WithServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: serverMAC}),
		dhcpv6.WithDNS(net.ParseIP("2001:db8::53")), dhcpv6.WithDomainSearchList("lan.example"))
	if err != nil {
		panic(err)
	}
	r.MessageType, r.TransactionID = kind, m.TransactionID
	return r
}

func clientOf6(t *testing.T, l *link6, file string) *Client {
	t.Helper()
	c := New(Options{File: file, Logger: discard, Second: instant, Open: func(_ string, f model.Family) (Line, error) {
		if f != model.IPv6 {
			t.Errorf("a line for IPv%d", f)
		}
		return l, nil
	}})
	t.Cleanup(c.Pause)
	return c
}

// TestStateful: a router sends the client to a server, and is its way out.
func TestStateful(t *testing.T) {
	l := newLink6(says(managed, 1800, prefixOption("2001:db8:7::/64", 0x80, 7200, 3600)),
		func(m *dhcpv6.Message) *dhcpv6.Message { return given6(m, "2001:db8:7::77", time.Hour) })
	c := clientOf6(t, l, "")
	lease, err := c.Ask(t.Context(), request6)
	if err != nil {
		t.Fatal(err)
	}
	if lease.Prefix.String() != "2001:db8:7::77/64" || lease.Gateway != routerIP || lease.Stateless || lease.Server.String() != "fe80::9" ||
		len(lease.DNS) != 1 || !slices.Equal(lease.Search, []string{"lan.example"}) || lease.Until.Sub(lease.From) != time.Hour ||
		lease.Renew.Sub(lease.From) > 15*time.Minute+time.Second {
		t.Errorf("lease %+v", lease)
	}
	if err := c.Return(t.Context(), request6.Endpoint); err != nil {
		t.Error(err)
	}
	want := []dhcpv6.MessageType{dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRelease}
	if !slices.Equal(l.heard, want) {
		t.Errorf("the server heard %v, want %v", l.heard, want)
	}
}

// TestStateless: an address of the prefix that the router names, by the client's MAC address;
// of clients that share one, each has its own.
func TestStateless(t *testing.T) {
	servers := append([]byte{optionServers, 3, 0, 0, 0, 0, 1, 0}, netip.MustParseAddr("2001:db8::53").AsSlice()...)
	search := []byte{optionSearch, 3, 0, 0, 0, 0, 1, 0, 3, 'l', 'a', 'n', 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 0, 0, 0, 0}
	mtu := []byte{optionMTU, 1, 0, 0, 0, 0, 5, 120}
	l := newLink6(says(0, 1800, prefixOption("2001:db8:7::/64", autonomousOnLink, 7200, 3600), servers, search, mtu), nil)
	c := clientOf6(t, l, "")
	lease, err := c.Ask(t.Context(), request6)
	if err != nil {
		t.Fatal(err)
	}
	if lease.Prefix.String() != "2001:db8:7::ff:fe00:1/64" || lease.Gateway != routerIP || !lease.Stateless || lease.MTU != 1400 ||
		len(lease.DNS) != 1 || !slices.Equal(lease.Search, []string{"lan.example"}) || lease.Until.Sub(lease.From) != 2*time.Hour {
		t.Errorf("lease %+v", lease)
	}
	seen := map[netip.Addr]bool{}
	for _, id := range []byte{1, 2, 3} {
		r := request6
		r.Endpoint, r.MAC, r.ClientID = model.EndpointID([]byte{'s', id}), "", slices.Clone(r.ClientID)
		r.ClientID[len(r.ClientID)-1] = id
		lease, err := c.Ask(t.Context(), r)
		if err != nil || seen[lease.Prefix.Addr()] {
			t.Errorf("%s, %v: seen %v", lease.Prefix, err, seen)
		}
		seen[lease.Prefix.Addr()] = true
	}
	if err := c.Return(t.Context(), request6.Endpoint); err != nil || len(l.heard) > 0 {
		t.Errorf("%v; a server heard %v", err, l.heard)
	}
}

// TestLinksThatMisbehave: who says nothing, or nothing that can be used.
func TestLinksThatMisbehave(t *testing.T) {
	honest := prefixOption("2001:db8:7::/64", autonomousOnLink, 7200, 3600)
	gives := func(address string, valid time.Duration) func(*dhcpv6.Message) *dhcpv6.Message {
		return func(m *dhcpv6.Message) *dhcpv6.Message { return given6(m, address, valid) }
	}
	changed := func(change func(m, r *dhcpv6.Message)) func(*dhcpv6.Message) *dhcpv6.Message {
		return func(m *dhcpv6.Message) *dhcpv6.Message {
			r := given6(m, "2001:db8:7::77", time.Hour)
			change(m, r)
			return r
		}
	}
	for name, c := range map[string]struct {
		advertises func() []byte
		answer     func(*dhcpv6.Message) *dhcpv6.Message
		want       string // of the error; empty: the router's prefix is used
	}{
		"nobody":                       {nil, nil, "no DHCPv6 server answers on eth0: asked 4 times"},
		"no prefix":                    {says(0, 1800), nil, "names no prefix of which hosts can make addresses"},
		"a link-local prefix":          {says(0, 1800, prefixOption("fe80::/64", autonomousOnLink, 7200, 3600)), nil, "names no prefix"},
		"a multicast prefix":           {says(0, 1800, prefixOption("ff02::/64", autonomousOnLink, 7200, 3600)), nil, "names no prefix"},
		"no half of an address":        {says(0, 1800, prefixOption("2001:db8::/65", autonomousOnLink, 7200, 3600)), nil, "names no prefix"},
		"longer preferred than valid":  {says(0, 1800, prefixOption("2001:db8::/64", autonomousOnLink, 3600, 7200)), nil, "names no prefix"},
		"a prefix that ends":           {says(0, 1800, prefixOption("2001:db8::/64", autonomousOnLink, 0, 0)), nil, "names no prefix"},
		"an option that is cut off":    {says(0, 1800, honest[:30]), nil, "no DHCPv6 server answers"},
		"an option without a length":   {says(0, 1800, []byte{optionMTU, 0, 0, 0, 0, 0, 0, 0}), nil, "no DHCPv6 server answers"},
		"a server that is not there":   {says(managed, 1800, honest), nil, ""},
		"a server that is asked alone": {nil, gives("2001:db8:7::77", time.Second), "too short"},
		"multicast":                    {nil, gives("ff02::1", time.Hour), "it is a multicast address"},
		"link-local":                   {nil, gives("fe80::77", time.Hour), "it is for the link alone"},
		"localhost":                    {nil, gives("::1", time.Hour), "it is every host's own"},
		"IPv4":                         {nil, gives("192.0.2.7", time.Hour), "it is one of IPv4"},
		"for another client": {nil, changed(func(_, r *dhcpv6.Message) {
			r.UpdateOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: otherMAC}))
		}), "no DHCPv6 server answers"},
		"for another question":    {nil, changed(func(_, r *dhcpv6.Message) { r.TransactionID[0]++ }), "no DHCPv6 server answers"},
		"for another association": {nil, changed(func(_, r *dhcpv6.Message) { r.Options.OneIANA().IaId[0]++ }), "no address is in its answer"},
		"another server confirms": {nil, changed(func(m, r *dhcpv6.Message) {
			if m.MessageType == dhcpv6.MessageTypeRequest {
				r.UpdateOption(dhcpv6.OptServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: otherMAC}))
			}
		}), "no DHCPv6 server answers"},
		"no addresses left": {nil, changed(func(_, r *dhcpv6.Message) {
			r.Options.OneIANA().Options.Options = nil
			r.AddOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail, StatusMessage: "sold out"})
		}), "sold out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lease, err := clientOf6(t, newLink6(c.advertises, c.answer), "").Ask(t.Context(), request6)
			switch {
			case c.want == "" && (err != nil || !lease.Stateless):
				t.Errorf("%+v, %v", lease, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %q, want %q in it", err, c.want)
			}
		})
	}
}

// TestTheClientAnswersForItself: who wants to answer looks for its link-local address first.
func TestTheClientAnswersForItself(t *testing.T) {
	d, err := newDialog(newLink6(nil, nil), request6, instant)
	if err != nil {
		t.Fatal(err)
	}
	d6, err := newDialog6(d)
	if err != nil {
		t.Fatal(err)
	}
	a := d6.own.As16()
	question := packet6{serverMAC, groupMAC(d6.own), netip.MustParseAddr("fe80::9"), netip.MustParseAddr("ff02::1:ff00:1"), protocolICMPv6, hopsOnLink,
		append([]byte{neighborSolicitation, 0, 0, 0, 0, 0, 0, 0}, a[:]...)}
	asked, err := unpack6(question.pack())
	if err != nil || !asked.asksFor(d6.own) || asked.asksFor(routerIP) {
		t.Fatalf("%+v, %v", asked, err)
	}
	answer, err := unpack6(asked.answer(clientMAC, d6.own).pack())
	if err != nil || answer.payload[0] != neighborAdvertisement || answer.to != question.from || answer.from != d6.own || answer.toMAC.String() != serverMAC.String() {
		t.Errorf("%+v, %v", answer, err)
	}
	question.hops = 64
	if far, err := unpack6(question.pack()); err != nil || far.asksFor(d6.own) {
		t.Errorf("%+v, %v: it is not from the link", far, err)
	}
}

// TestALease6IsKept: both families of an endpoint are held, renewed and given back together,
// and by whoever comes after a crash.
func TestALease6IsKept(t *testing.T) {
	l := newLink6(says(0, 2, prefixOption("2001:db8:7::/64", autonomousOnLink, 7200, 3600)), nil)
	file := filepath.Join(t.TempDir(), "leases")
	c := clientOf6(t, l, file)
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
	first, err := c.Ask(t.Context(), request6)
	if err != nil {
		t.Fatal(err)
	}
	c.Pause()
	next := clientOf6(t, l, file)
	if err := next.Resume(); err != nil {
		t.Fatal(err)
	}
	revision, held, err := next.Watch(t.Context(), 0)
	if err != nil || len(held) != 1 || held[0].Request.Family() != model.IPv6 || held[0].Lease.Prefix != first.Prefix {
		t.Fatalf("after a crash: %+v, %v", held, err)
	}
	for held[0].Lease.From.Equal(first.From) { // the router is asked again before its time is over
		if revision, held, err = next.Watch(t.Context(), revision); err != nil {
			t.Fatal(err)
		}
	}
	if held[0].Lost != "" || held[0].Lease.Prefix != first.Prefix || held[0].Lease.Gateway != routerIP {
		t.Errorf("renewed: %+v", held[0])
	}
	if err := next.Return(t.Context(), request6.Endpoint); err != nil || !next.Empty() {
		t.Errorf("%v, empty %t", err, next.Empty())
	}
}

func FuzzUnpack6(f *testing.F) {
	mac := clientMAC
	f.Add(solicitation(mac, routerIP).pack())
	f.Add(packet6{routerMAC, mac, routerIP, routerIP, protocolICMPv6, hopsOnLink, says(managed, 1800, prefixOption("2001:db8:7::/64", autonomousOnLink, 7200, 3600))()}.pack())
	f.Add(toServers(mac, routerIP, []byte{1, 2, 3, 4}).pack())
	f.Fuzz(func(t *testing.T, frame []byte) {
		p, err := unpack6(frame)
		if err != nil {
			return
		}
		if m, ok := p.message6(); ok && len(m) > len(frame) {
			t.Errorf("%d bytes out of %d", len(m), len(frame))
		}
		p.asksFor(routerIP)
		ra, err := parseAdvertisement(p)
		if err != nil {
			return
		}
		if len(ra.prefixes) > maxPrefixes || len(ra.dns) > maxServers || len(ra.search) > maxSearch {
			t.Errorf("too much is taken: %+v", ra)
		}
		l := model.Lease{Prefix: netip.MustParsePrefix("2001:db8:7::77/128")}
		ra.describe(&l, time.Now(), 1500)
		if l.Gateway.IsValid() && !l.Gateway.IsLinkLocalUnicast() || l.MTU != 0 && l.MTU < minMTU6 {
			t.Errorf("%+v gives %+v", ra, l)
		}
		for _, name := range l.Search {
			if domain(name) != name {
				t.Errorf("%q cannot be written into resolv.conf", name)
			}
		}
	})
}

func FuzzReply6(f *testing.F) {
	m, err := dhcpv6.NewMessage(dhcpv6.WithClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: clientMAC}), dhcpv6.WithIAID([4]byte{1, 2, 3, 4}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(given6(m, "2001:db8::7", time.Hour).ToBytes())
	f.Add([]byte{7, 0, 0, 0})
	f.Fuzz(func(t *testing.T, message []byte) {
		r, err := parse6(message, m.TransactionID, m.Options.ClientID(), dhcpv6.MessageTypeReply)
		if err != nil {
			return
		}
		l, err := r.lease(time.Now(), [4]byte{1, 2, 3, 4})
		if err != nil {
			return
		}
		if why := unusable6(l.Prefix.Addr()); why != "" || len(l.ServerID) > maxServerID || len(l.DNS) > maxServers || len(l.Search) > maxSearch {
			t.Errorf("%+v is taken: %s", l, why)
		}
		if !l.Until.IsZero() && (l.Renew.After(l.Rebind) || l.Rebind.After(l.Until)) {
			t.Errorf("renewed after its end: %+v", l)
		}
	})
}
