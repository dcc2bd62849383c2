package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// Options of neighbour discovery: RFC 4861, section 4.6; RFC 8106.
const (
	optionSourceMAC = 1
	optionTargetMAC = 2
	optionPrefix    = 3
	optionMTU       = 5
	optionServers   = 25
	optionSearch    = 31
)

// Bounds of what is taken from a router.
const (
	maxPrefixes = 16
	minMTU6     = 1280 // RFC 8200, section 5
	// longest is how long what a router says is believed without asking again. It is the
	// length of a life without end, too, so that a router that is gone for good is noticed.
	longest = 30 * 24 * time.Hour
)

// advertisement is what a router says of a link (RFC 4861, section 4.2).
type advertisement struct {
	router   netip.Addr
	lifetime time.Duration // for which it leads out; 0: it does not
	managed  bool          // addresses are to be had by DHCPv6
	prefixes []linkPrefix
	dns      []netip.Addr
	search   []string
	mtu      int // bytes; 0: not said
}

// linkPrefix is a prefix of a link (RFC 4861, section 4.6.2).
type linkPrefix struct {
	prefix     netip.Prefix
	onLink     bool // its addresses are reached without a router
	autonomous bool // clients may make their addresses of it
	valid      time.Duration
}

// parseAdvertisement reads a router's advertisement; what is none, or comes from elsewhere
// than the link, is errForeign. Options that nobody can use are left out.
func parseAdvertisement(p packet6) (advertisement, error) {
	if p.protocol != protocolICMPv6 || p.hops != hopsOnLink || p.payload[0] != routerAdvertisement || len(p.payload) < 16 || !p.from.IsLinkLocalUnicast() {
		return advertisement{}, errForeign
	}
	ra := advertisement{
		router: p.from, managed: p.payload[5]&0x80 != 0,
		lifetime: time.Duration(binary.BigEndian.Uint16(p.payload[6:])) * time.Second,
	}
	for options := p.payload[16:]; len(options) > 0; {
		if len(options) < 8 || options[1] == 0 || len(options) < int(options[1])*8 {
			return advertisement{}, errForeign // RFC 4861, section 6.1.2
		}
		ra.read(options[:int(options[1])*8])
		options = options[int(options[1])*8:]
	}
	return ra, nil
}

func (ra *advertisement) read(option []byte) {
	switch option[0] {
	case optionPrefix:
		ra.readPrefix(option)
	case optionMTU:
		if m := binary.BigEndian.Uint32(option[4:]); m >= minMTU6 && m <= 0xffff {
			ra.mtu = int(m)
		}
	case optionServers:
		if binary.BigEndian.Uint32(option[4:]) == 0 {
			return
		}
		for raw := option[8:]; len(raw) >= 16; raw = raw[16:] {
			if a := netip.AddrFrom16([16]byte(raw)); len(ra.dns) < maxServers && unusable6(a) == "" {
				ra.dns = append(ra.dns, a)
			}
		}
	case optionSearch:
		if binary.BigEndian.Uint32(option[4:]) != 0 {
			ra.search = append(ra.search, names(option[8:], maxSearch-len(ra.search))...)
		}
	}
}

// readPrefix takes prefixes of which hosts have addresses: half of an address (RFC 4862,
// section 5.5.3).
func (ra *advertisement) readPrefix(option []byte) {
	const onLink, autonomous = 0x80, 0x40
	if len(option) != 32 || len(ra.prefixes) == maxPrefixes {
		return
	}
	bits := int(option[2])
	a := netip.AddrFrom16([16]byte(option[16:32]))
	valid, preferred := binary.BigEndian.Uint32(option[4:]), binary.BigEndian.Uint32(option[8:])
	if bits > 128 || unusable6(a) != "" || preferred > valid || valid == 0 {
		return
	}
	ra.prefixes = append(ra.prefixes, linkPrefix{
		prefix: netip.PrefixFrom(a, bits).Masked(), onLink: option[3]&onLink != 0,
		autonomous: option[3]&autonomous != 0 && bits == 64 && preferred > 0,
		valid:      min(time.Duration(valid)*time.Second, longest),
	})
}

// names reads at most so many domain names of a search list, without compression (RFC 8106,
// section 5.2). What is none ends the list.
func names(raw []byte, most int) (out []string) {
	var labels []string
	for len(raw) > 0 && len(out) < most {
		length := int(raw[0])
		if length == 0 && len(labels) == 0 || length > 63 || length >= len(raw) {
			return out // padding, or cut off
		}
		if length > 0 {
			labels, raw = append(labels, string(raw[1:1+length])), raw[1+length:]
			continue
		}
		raw = raw[1:]
		if name := domain(strings.Join(labels, ".")); name != "" {
			out = append(out, name)
		}
		labels = nil
	}
	return out
}

// unusable6 says why no host can have an IPv6 address to be reached by; empty if one can.
func unusable6(a netip.Addr) string {
	switch {
	case !a.IsValid() || !a.Is6() || a.IsUnspecified():
		return "it is no address"
	case a.IsMulticast():
		return "it is a multicast address"
	case a.IsLoopback():
		return "it is every host's own"
	case a.IsLinkLocalUnicast():
		return "it is for the link alone"
	case a.Is4In6():
		return "it is one of IPv4"
	}
	return ""
}

// interfaceID returns the last half of the addresses that a client makes of its MAC address
// (RFC 4291, appendix A).
func interfaceID(mac net.HardwareAddr) (id [8]byte) {
	return [8]byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
}

// join returns the address of a prefix of 64 bits with an interface's ID.
func join(p netip.Prefix, id [8]byte) netip.Addr {
	b := p.Addr().As16()
	copy(b[8:], id[:])
	return netip.AddrFrom16(b)
}

// covering returns the prefix of the link in which an address is; false if the router has
// named none that hosts reach by themselves.
func (ra advertisement) covering(a netip.Addr) (linkPrefix, bool) {
	for _, p := range ra.prefixes {
		if p.onLink && p.prefix.Contains(a) {
			return p, true
		}
	}
	return linkPrefix{}, false
}

// describe adds to a lease what the router says, at the time now: the way out, name servers
// where nobody else has named any, and when to ask again. A zero advertisement says nothing.
func (ra advertisement) describe(l *model.Lease, now time.Time, mtu int) {
	if bits := l.Prefix.Addr().BitLen(); l.Prefix.Bits() == bits {
		if p, ok := ra.covering(l.Prefix.Addr()); ok {
			l.Prefix = netip.PrefixFrom(l.Prefix.Addr(), p.prefix.Bits())
		}
	}
	if ra.lifetime > 0 {
		l.Gateway = ra.router
		if again := now.Add(max(ra.lifetime/2, shortest/2)); l.Renew.IsZero() || again.Before(l.Renew) {
			l.Renew = again
		}
	}
	if len(l.DNS) == 0 {
		l.DNS = ra.dns
	}
	if len(l.Search) == 0 {
		l.Search = ra.search
	}
	if ra.mtu != 0 && ra.mtu < mtu {
		l.MTU = ra.mtu
	}
}
