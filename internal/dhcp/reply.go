package dhcp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"

	"github.com/linkspan/linkspan/internal/model"
)

// Bounds of what is taken from a server.
const (
	maxServers = 8  // of one kind: name servers, time servers
	maxRoutes  = 64 // of option 121
	maxSearch  = 16
	maxText    = 253 // a domain's name (RFC 1035, section 2.3.4)
	minMTU     = 68
	// shortest is the shortest life of a lease that is taken: one that ends at once would
	// have its server asked without end.
	shortest = 2 * time.Second
)

// infinite is the time of a lease without end, in seconds (RFC 2131, section 3.3).
const infinite = 0xffffffff

// reply is an answer of a server.
type reply struct {
	*dhcpv4.DHCPv4
	server netip.Addr
}

// parse reads a message of a server to the client that has asked with xid, by mac. All
// else is an error.
func parse(message []byte, xid dhcpv4.TransactionID, mac net.HardwareAddr) (reply, error) {
	m, err := dhcpv4.FromBytes(message)
	switch {
	case err != nil:
		return reply{}, err
	case m.OpCode != dhcpv4.OpcodeBootReply || m.TransactionID != xid || !bytes.Equal(m.ClientHWAddr, mac):
		return reply{}, errForeign
	}
	server, _ := netip.AddrFromSlice(m.ServerIdentifier().To4())
	return reply{DHCPv4: m, server: server}, nil
}

// lease returns what an offer or an acknowledgement gives, at the time now. The device
// takes packets of up to mtu bytes. The error says what no host can use.
func (r reply) lease(now time.Time, mtu int) (model.Lease, error) {
	a, _ := netip.AddrFromSlice(r.YourIPAddr.To4())
	l := model.Lease{Server: r.server, From: now}
	if !r.server.IsValid() || r.server.IsUnspecified() {
		return l, fmt.Errorf("it does not say which server it is")
	}
	bits, err := r.prefixLen(a)
	if err != nil {
		return l, err
	}
	l.Prefix = netip.PrefixFrom(a, bits)
	if why := unusable(l.Prefix); why != "" {
		return l, fmt.Errorf("%s: %s", l.Prefix, why)
	}
	if err := r.times(&l); err != nil {
		return l, err
	}
	r.ways(&l)
	l.DNS, l.NTP = addresses(r.DNS()), addresses(r.NTPServers())
	l.Domain = domain(r.DomainName())
	l.Search = domains(r.DomainSearch())
	if raw := r.Options.Get(dhcpv4.OptionInterfaceMTU); len(raw) == 2 {
		if m := int(raw[0])<<8 | int(raw[1]); m >= minMTU && m < mtu {
			l.MTU = m
		}
	}
	return l, nil
}

// prefixLen returns the length of the subnet: that of the mask, or of the address's class
// if there is none (RFC 2132, section 3.3).
func (r reply) prefixLen(a netip.Addr) (int, error) {
	mask := r.SubnetMask()
	if mask == nil && a.IsValid() {
		mask = net.IP(a.AsSlice()).DefaultMask()
	}
	ones, size := mask.Size()
	if size != 32 || ones == 0 {
		return 0, fmt.Errorf("%s: %s is no mask of a subnet", a, mask)
	}
	return ones, nil
}

// unusable says why no host can have an address; empty if one can.
func unusable(p netip.Prefix) string {
	a := p.Addr()
	switch {
	case !a.IsValid() || a.IsUnspecified():
		return "it is no address"
	case a.IsMulticast():
		return "it is a multicast address"
	case a.IsLoopback():
		return "it is every host's own"
	case a.As4()[0] == 0 || a.As4()[0] >= 240:
		return "no host can have it"
	case p.Bits() < 31 && a == p.Masked().Addr():
		return "it is the network's own address"
	case p.Bits() < 31 && !p.Contains(a.Next()):
		return "it is the broadcast address"
	}
	return ""
}

// times reads how long a lease lives, and when it is renewed (RFC 2131, section 4.4.5).
func (r reply) times(l *model.Lease) error {
	const second = time.Second
	life := r.IPAddressLeaseTime(0)
	if life >= infinite*second {
		return nil
	}
	if life < shortest {
		return fmt.Errorf("%s for %s, which is too short", l.Prefix, life)
	}
	schedule(l, life, r.IPAddressRenewalTime(0), r.IPAddressRebindingTime(0), life*7/8)
	return nil
}

// schedule sets when a lease that lives for life from l.From on is renewed: when its server says,
// where that is before its end; else at half of it, and late, which is when any server is asked.
func schedule(l *model.Lease, life, renew, rebind, late time.Duration) {
	if renew <= 0 || renew >= life {
		renew = life / 2
	}
	if rebind <= renew || rebind >= life {
		rebind = max(renew, late)
	}
	renew = max(renew, shortest/2)
	l.Renew, l.Rebind, l.Until = l.From.Add(renew), l.From.Add(max(rebind, renew)), l.From.Add(life)
}

// ways reads routers and routes. Where there are routes, routers do not count (RFC 3442).
// A router that is not of the subnet cannot be reached, and is left out.
func (r reply) ways(l *model.Lease) {
	routes := r.ClasslessStaticRoute()
	for _, route := range routes {
		to, ok := netip.AddrFromSlice(route.Dest.IP.To4())
		ones, size := route.Dest.Mask.Size()
		via, _ := netip.AddrFromSlice(route.Router.To4())
		if !ok || size != 32 || len(l.Routes) == maxRoutes || !usableRoute(netip.PrefixFrom(to, ones)) {
			continue
		}
		p := netip.PrefixFrom(to, ones).Masked()
		onLink := via.IsValid() && via.IsUnspecified()
		switch {
		case !onLink && !gatewayOf(l.Prefix, via):
		case p.Bits() == 0 && !onLink:
			l.Gateway = via
		case p.Bits() == 0 || p == l.Prefix.Masked() || hasRoute(l.Routes, p):
		case onLink:
			l.Routes = append(l.Routes, model.LeaseRoute{Destination: p})
		default:
			l.Routes = append(l.Routes, model.LeaseRoute{Destination: p, Gateway: via})
		}
	}
	if len(routes) > 0 {
		return
	}
	for _, router := range addresses(r.Router()) {
		if gatewayOf(l.Prefix, router) {
			l.Gateway = router
			return
		}
	}
}

func hasRoute(routes []model.LeaseRoute, p netip.Prefix) bool {
	for _, r := range routes {
		if r.Destination == p {
			return true
		}
	}
	return false
}

// usableRoute tells whether anything can be routed there.
func usableRoute(p netip.Prefix) bool {
	a := p.Addr()
	return p.Bits() == 0 && a.IsUnspecified() || !a.IsMulticast() && !a.IsLoopback() && a.As4()[0] != 0 && a.As4()[0] < 240
}

// gatewayOf tells whether a router can be reached from an address.
func gatewayOf(own netip.Prefix, router netip.Addr) bool {
	return router.IsValid() && own.Contains(router) && router != own.Addr() && unusable(netip.PrefixFrom(router, own.Bits())) == ""
}

// addresses returns those that a host can have.
func addresses(all []net.IP) (out []netip.Addr) {
	for _, ip := range all {
		a, ok := netip.AddrFromSlice(ip.To4())
		if ok && len(out) < maxServers && unusable(netip.PrefixFrom(a, 32)) == "" {
			out = append(out, a)
		}
	}
	return out
}

// domains returns those of a search list that can be used; none of nil.
func domains(list *rfc1035label.Labels) (out []string) {
	if list == nil {
		return nil
	}
	for _, name := range list.Labels {
		if name = domain(name); name != "" && len(out) < maxSearch {
			out = append(out, name)
		}
	}
	return out
}

// domain returns a name that can be written into resolv.conf(5); empty for any other.
func domain(name string) string {
	name = strings.TrimRight(name, ".\x00")
	if len(name) > maxText {
		return ""
	}
	for _, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '-' && c != '.' && c != '_' {
			return ""
		}
	}
	return name
}
