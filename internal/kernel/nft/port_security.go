package nft

import (
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/nft/field"
	"github.com/linkspan/linkspan/internal/model"
)

// In whose name a port of ours may speak. By default, in its own: its MAC address
// and the addresses that it was given (pin_…). A capable port may also use what
// nobody is known to have, and route what is at home elsewhere; it may not use
//
//	known_mac, known_ip4, known_ip6   what a port, a bridge or a gateway has, as far
//	                                  as that is in the port's own subnets (near…)
//	host_ip4, host_ip6                what the host has, wherever
//
// so that a look-up or two tell, however many ports there are. Which bridge a port
// belongs to cannot be asked while a frame passes (kernels without nft_meta_bridge);
// subnets of networks do not overlap, and so they say the same.
const (
	setPinned = "pinned"
	setPinMAC = "pin_mac"
	setPinIP4 = "pin_ip4"
	setPinIP6 = "pin_ip6"

	setCapable   = "capable"
	setUnchecked = "unchecked"
	setNear4     = "near4"
	setNear6     = "near6"
	setKnownMAC  = "known_mac"
	setKnownIP4  = "known_ip4"
	setKnownIP6  = "known_ip6"
	setHostIP4   = "host_ip4"
	setHostIP6   = "host_ip6"
	setItself    = "itself"

	chainPort       = "port"
	chainCapable    = "capable"
	chainCapableARP = "capable_arp"
	chainCapable4   = "capable_ip4"
	chainCapable6   = "capable_ip6"
)

// Kinds of ICMPv6 messages of RFC 4861, and ports of RFC 2131 and RFC 8415.
const (
	routerSolicitation    = 133
	routerAdvertisement   = 134
	neighbourSolicitation = 135
	neighbourAdvert       = 136
	icmp6Redirect         = 137

	bootps        = 67
	bootpc        = 68
	dhcp6Server   = 547
	mldReport     = 131 // RFC 2710
	mldDone       = 132
	mldReportOfV2 = 143 // RFC 3810
)

func portSecuritySets() []set {
	return []set{
		{name: setPinned, comment: "ports that have a policy", key: []datatype{typeIfname}},
		{name: setPinMAC, comment: "the MAC address of each port", key: []datatype{typeIfname, typeEther}},
		{name: setPinIP4, comment: "the IPv4 addresses of each port", key: []datatype{typeIfname, typeIPv4}},
		{name: setPinIP6, comment: "the IPv6 addresses of each port", key: []datatype{typeIfname, typeIPv6}},
		{name: setItself, comment: "each port with itself", key: []datatype{typeIfname, typeIfname}, deny: true},
		{name: setCapable, comment: "ports of containers with NET_ADMIN", key: []datatype{typeIfname}},
		{name: setUnchecked, comment: "ports with port_security=off", key: []datatype{typeIfname}},
		{name: setNear4, comment: "the subnets of ports that are not pinned", key: []datatype{typeIfname, typeIPv4}, interval: true, deny: true},
		{name: setNear6, comment: "the subnets of ports that are not pinned", key: []datatype{typeIfname, typeIPv6}, interval: true, deny: true},
		{name: setKnownMAC, comment: "MAC addresses of ports and bridges", key: []datatype{typeEther}, deny: true},
		{name: setKnownIP4, comment: "addresses of ports and gateways", key: []datatype{typeIPv4}, deny: true},
		{name: setKnownIP6, comment: "addresses of ports and gateways", key: []datatype{typeIPv6}, deny: true},
		{name: setHostIP4, comment: "addresses of the host", key: []datatype{typeIPv4}, deny: true},
		{name: setHostIP6, comment: "addresses of the host", key: []datatype{typeIPv6}, deny: true},
	}
}

func portSecurityChains() []chain {
	return slices.Concat(dropChains(), []chain{
		{chainMAC, base{}, newMACRules()},
		{chainCapableARP, base{}, capableARPRules()},
		{chainCapable4, base{}, capableIPv4Rules()},
		{chainCapable6, base{}, capableIPv6Rules()},
		{chainCapable, base{}, capableRules()},
		{chainPort, base{}, portRules()},
	})
}

// portRules lets through what a container may say. Everything else from a port of
// ours is dropped: without a pin, that is everything.
//
// The EtherType is read from the frame itself rather than from the packet's
// metadata, which for a VLAN tagged frame names the protocol inside the tag.
func portRules() []rule {
	return slices.Concat(
		[]rule{
			accept("nobody looks: port_security=off", in(setUnchecked, field.IIFName)),
			jump("a container with NET_ADMIN", chainCapable, in(setCapable, field.IIFName)),
			refuse(facts.DropMAC, "MAC address that is not this port's", notIn(setPinMAC, field.IIFName, field.EtherSource)),
		},
		portARPRules(),
		portIPv4Rules(),
		portIPv6Rules(),
		[]rule{refuse(facts.DropFrame, "whatever else: VLAN tag, other protocol")},
	)
}

func isARP() match  { return is(field.EtherType, 0x08, 0x06) }
func isIPv4() match { return is(field.EtherType, 0x08, 0x00) }
func isIPv6() match { return is(field.EtherType, 0x86, 0xdd) }

// usualARP is Ethernet and IPv4 in their usual lengths: in any other form of ARP
// the addresses would stand elsewhere than where the rules look.
func usualARP() match {
	return slices.Concat(isARP(), is(field.ARPHardware, 0, 1), is(field.ARPProtocol, 0x08, 0x00), is(field.ARPLengths, 6, 4))
}

func udpFrom(port uint16) match {
	return slices.Concat(is(field.Protocol, unix.IPPROTO_UDP), is(field.SourcePort, byte(port>>8), byte(port)))
}

func icmp6(kind byte) match {
	return slices.Concat(isIPv6(), is(field.Protocol, unix.IPPROTO_ICMPV6), is(field.ICMP6Type, kind))
}

func portARPRules() []rule {
	probe := slices.Concat(usualARP(), is(field.ARPOperation, 0, 1), is(field.ARPSenderIP, 0, 0, 0, 0))
	return []rule{
		refuse(facts.DropARP, "ARP in the name of another MAC address", isARP(), notIn(setPinMAC, field.IIFName, field.ARPSenderMAC)),
		accept("ARP in its own name", usualARP(), in(setPinIP4, field.IIFName, field.ARPSenderIP)),
		accept("ARP probe for its own address (RFC 5227)", probe, in(setPinIP4, field.IIFName, field.ARPTargetIP)),
		refuse(facts.DropARP, "ARP in the name of another, or of no usual form", isARP()),
	}
}

func portIPv4Rules() []rule {
	return []rule{
		refuse(facts.DropService, "DHCP server", isIPv4(), udpFrom(bootps)),
		accept("IPv4 from its own address", isIPv4(), in(setPinIP4, field.IIFName, field.IP4Source)),
		refuse(facts.DropSource, "IPv4 from another's address", isIPv4()),
	}
}

func portIPv6Rules() []rule {
	nobody := is(field.IP6Source, make([]byte, 16)...)
	rules := []rule{
		refuse(facts.DropService, "router advertisement", icmp6(routerAdvertisement)),
		refuse(facts.DropService, "redirect", icmp6(icmp6Redirect)),
		refuse(facts.DropService, "DHCPv6 server", isIPv6(), udpFrom(dhcp6Server)),
		refuse(facts.DropDiscovery, "neighbour advertisement for another's address",
			icmp6(neighbourAdvert), notIn(setPinIP6, field.IIFName, field.NDTarget)),
		accept("IPv6 from its own address", isIPv6(), in(setPinIP6, field.IIFName, field.IP6Source)),
		accept("duplicate address detection of its own address (RFC 4862)",
			icmp6(neighbourSolicitation), nobody, in(setPinIP6, field.IIFName, field.NDTarget)),
	}
	// Before it has an address, a host says in nobody's name which groups it is in.
	for _, kind := range []byte{mldReport, mldDone, mldReportOfV2} {
		rules = append(rules, accept("group membership", icmp6(kind), nobody))
	}
	return append(rules, refuse(facts.DropSource, "IPv6 from another's address", isIPv6()))
}

// capableRules decide all that comes from a capable port.
func capableRules() []rule {
	return []rule{
		refuse(facts.DropMAC, "MAC address of a neighbour or the host", notIn(setPinMAC, field.IIFName, field.EtherSource), in(setKnownMAC, field.EtherSource)),
		newMAC(),
		jump("ARP", chainCapableARP, isARP()),
		jump("IPv4", chainCapable4, isIPv4()),
		jump("IPv6", chainCapable6, isIPv6()),
		refuse(facts.DropFrame, "whatever else: VLAN tag, other protocol"),
	}
}

// notOthers refuses what has an address that is somebody else's, of the one family
// or the other. Addresses that the port has itself are not looked at.
func notOthers(k facts.DropKind, what string, address part, when ...match) []rule {
	own, near, known, host := setPinIP4, setNear4, setKnownIP4, setHostIP4
	if address.words > 1 {
		own, near, known, host = setPinIP6, setNear6, setKnownIP6, setHostIP6
	}
	foreign := append(slices.Concat(when...), notIn(own, field.IIFName, address.load)...)
	return []rule{
		refuse(k, what+" of the host", foreign, in(host, address.load)),
		refuse(k, what+" of a neighbour or the gateway", foreign, in(known, address.load), inJoined(near, iifPart(), address)),
	}
}

func capableARPRules() []rule {
	return slices.Concat(
		[]rule{refuse(facts.DropARP, "ARP with the MAC address of a neighbour or the host",
			notIn(setPinMAC, field.IIFName, field.ARPSenderMAC), in(setKnownMAC, field.ARPSenderMAC))},
		notOthers(facts.DropARP, "ARP with the address", part{field.ARPSenderIP, 1}),
		[]rule{
			refuse(facts.DropARP, "ARP with a loopback address", prefix4(field.ARPSenderIP, 127, 8)),
			refuse(facts.DropARP, "ARP with a group's address or everybody's", prefix4(field.ARPSenderIP, 224, 3)),
			accept("ARP for an address that is nobody else's", usualARP()),
			refuse(facts.DropARP, "ARP of no usual form"),
		},
	)
}

func capableIPv4Rules() []rule {
	from := func(first byte, bits int) match { return prefix4(field.IP4Source, first, bits) }
	client := slices.Concat(is(field.IP4Source, 0, 0, 0, 0), udpFrom(bootpc), is(field.Transport(2, 2), 0, bootps))
	return slices.Concat(
		notOthers(facts.DropSource, "IPv4 from the address", part{field.IP4Source, 1}),
		[]rule{
			accept("DHCP client", client),
			refuse(facts.DropSource, "IPv4 from nobody", from(0, 8)),
			refuse(facts.DropSource, "IPv4 from a loopback address", from(127, 8)),
			refuse(facts.DropSource, "IPv4 from a group or from all", from(224, 3)),
			accept("IPv4 from an address that is nobody else's"),
		},
	)
}

func capableIPv6Rules() []rule {
	nobody := is(field.IP6Source, make([]byte, 16)...)
	mapped := []byte{10: 0xff, 11: 0xff, 15: 0} // ::ffff:0:0/96
	low, low96 := make([]byte, 16), append(slices.Repeat([]byte{0xff}, 12), 0, 0, 0, 0)
	return slices.Concat(
		notOthers(facts.DropSource, "IPv6 from the address", part{field.IP6Source, 4}),
		notOthers(facts.DropDiscovery, "neighbour advertisement for the address", part{field.NDTarget, 4}, icmp6(neighbourAdvert)),
		[]rule{
			accept("duplicate address detection, group membership", nobody, is(field.Protocol, unix.IPPROTO_ICMPV6)),
			refuse(facts.DropSource, "IPv6 from nobody, or a loopback address", under(field.IP6Source, low, low96)),
			refuse(facts.DropSource, "IPv6 from an IPv4 address", under(field.IP6Source, mapped, low96)),
			refuse(facts.DropSource, "IPv6 from a group", under(field.IP6Source, []byte{0xff, 15: 0}, []byte{0xff, 15: 0})),
			accept("IPv6 from an address that is nobody else's"),
		},
	)
}

// prefix4 matches IPv4 addresses that begin with the bits of first, at most eight.
func prefix4(l field.Load, first byte, bits int) match {
	return under(l, []byte{first, 0, 0, 0}, []byte{0xff << (8 - bits), 0, 0, 0})
}

func renderPin(r desired.PortSecurity) ([]element, error) {
	port, err := nameKey(r.Port)
	if err != nil {
		return nil, err
	}
	if _, err := nameKey(r.Bridge); err != nil {
		return nil, err
	}
	mac, err := macKey(r.MAC)
	if err != nil {
		return nil, model.Errorf(model.Invalid, "port security of %s: %w", r.Port, err)
	}
	out := []element{
		{set: setPinned, key: port},
		{set: setPinMAC, key: port + mac + "\x00\x00"}, // padded to whole registers
		{set: setItself, key: port + port},
	}
	for _, a := range r.Addrs {
		if a = a.Unmap(); !a.IsValid() {
			return nil, model.Errorf(model.Invalid, "port security of %s: no address", r.Port)
		}
		out = append(out, element{set: pick(a, setPinIP4, setPinIP6), key: port + addrKey(a)})
	}
	switch r.Mode {
	case desired.PortPinned:
		return out, nil
	case desired.PortCapable:
		out = append(out, element{set: setCapable, key: port})
	case desired.PortUnchecked:
		out = append(out, element{set: setUnchecked, key: port})
	default:
		return nil, model.Errorf(model.Invalid, "port security of %s: mode %q", r.Port, r.Mode)
	}
	return append(out, nearOf(port, r.Subnets)...), nil
}

// nearOf says what is on the link with a port: the subnets of its network, and
// what is on every link (RFC 3927, RFC 4291).
func nearOf(port string, subnets []netip.Prefix) (out []element) {
	var all []netip.Prefix
	onLink := []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")}
	for _, p := range append(onLink, subnets...) {
		p = p.Masked()
		within := func(q netip.Prefix) bool { return q.Overlaps(p) && q.Bits() <= p.Bits() }
		if !p.IsValid() || slices.ContainsFunc(all, within) {
			continue
		}
		all = slices.DeleteFunc(all, func(q netip.Prefix) bool { return q.Overlaps(p) })
		all = append(all, p)
	}
	for _, p := range all {
		out = append(out, element{
			set: pick(p.Addr(), setNear4, setNear6), key: port + addrKey(p.Addr()), last: port + addrKey(lastAddr(p)),
		})
	}
	return out
}

func macKey(text string) (string, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != typeEther.Size() {
		return "", model.Errorf(model.Invalid, "MAC address %q", text)
	}
	return string(mac), nil
}

// knownBy are the elements of what a port is known to have. Several ports may have
// the same, on networks that have nothing to do with one another.
func knownBy(r desired.PortSecurity) (out []element) {
	if mac, err := macKey(r.MAC); err == nil {
		out = append(out, element{set: setKnownMAC, key: mac})
	}
	for _, a := range r.Addrs {
		a = a.Unmap()
		out = append(out, element{set: pick(a, setKnownIP4, setKnownIP6), key: addrKey(a)})
	}
	return out
}

// knownOf are the elements of what the host, or its end of a bridge, is known to
// have.
func knownOf(r desired.Identity) (out []element) {
	for _, text := range r.MACs {
		if mac, err := macKey(text); err == nil {
			out = append(out, element{set: setKnownMAC, key: mac})
		}
	}
	for _, a := range r.Addrs {
		a = a.Unmap()
		out = append(out, element{set: pick(a, setHostIP4, setHostIP6), key: addrKey(a)})
	}
	for _, a := range r.Gateways {
		a = a.Unmap()
		out = append(out, element{set: pick(a, setKnownIP4, setKnownIP6), key: addrKey(a)})
	}
	return out
}

// renderIdentity has no elements of its own, since several rows may mean the same
// ones; it only refuses what is none.
func renderIdentity(r desired.Identity) ([]element, error) {
	for _, text := range r.MACs {
		if _, err := macKey(text); err != nil {
			return nil, model.Errorf(model.Invalid, "identity of %s: %w", r.Bridge, err)
		}
	}
	for _, a := range slices.Concat(r.Addrs, r.Gateways) {
		if !a.IsValid() {
			return nil, model.Errorf(model.Invalid, "identity of %s: no address", r.Bridge)
		}
	}
	return nil, nil
}
