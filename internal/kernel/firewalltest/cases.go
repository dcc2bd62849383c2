package firewalltest

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
	"github.com/linkspan/linkspan/internal/model"
)

// Cases are generated: from every kind of sender, to every kind of address and port, on a
// network with each of the settings that matter, over each protocol and family. What must
// become of a packet is worked out from what the settings promise, without a look at rules.

// caseNetwork is a network with certain settings. Its target has published ports, each in
// its own way; its peer is a neighbour of that.
type caseNetwork struct {
	settings     string
	target, peer string
	base         uint16 // of its host ports; 0: none, as with gateway mode routed
	direct       directness
	icc          bool
	internal     bool
	leaves       string // under which address: "host", "chosen" or "own"; empty: not at all
}

// directness is what may be reached at a container's own address.
type directness int

const (
	directNever   directness = iota
	directTrusted            // published ports, by the interface of "out" (trusted_host_interfaces)
	directPorts              // published ports (gateway mode routed)
	directAll                // (gateway mode nat-unprotected)
)

func caseNetworks() []caseNetwork {
	return []caseNetwork{
		{"nat", "a1", "a2", 21000, directNever, true, false, "host"},
		{"nat, icc=false", "q1", "q2", 21100, directNever, false, false, "host"},
		{"nat, host_ipv4 and host_ipv6", "b1", "open", 21200, directNever, true, false, "chosen"},
		{"nat, no masquerade", "m1", "m2", 21300, directNever, true, false, "own"},
		{"nat, trusted interface", "m2", "m1", 21400, directTrusted, true, false, "own"},
		{"routed", "r1", "r2", 0, directPorts, true, false, "own"},
		{"nat-unprotected", "u1", "u2", 21500, directAll, true, false, "host"},
		{"internal", "i1", "i2", 21600, directNever, true, true, ""},
	}
}

// Ports of targets, and host ports that lead to them, by what they have to be added to.
const (
	caseDirect   = 80  // published wherever there is a host port for it, or direct access
	caseUnlisted = 999 // published nowhere

	everywhere  = 0  // at every address of the host, to port 80
	atUplink    = 1  // at the uplink's address, to port 81
	atLocalhost = 2  // at 127.0.0.1, to port 82
	wholeRange  = 10 // a range at every address, to the same numbers
	shifted     = 30 // a range at the uplink's address, to ports from 90 on
	rangeExtent = 9
	unpublished = 50
)

// CaseRows are those of the lab with the ports of all cases.
func CaseRows() []desired.Row {
	rows := Rows(true)
	for _, n := range caseNetworks() {
		for _, p := range []model.Protocol{model.UDP, model.TCP} {
			rows = append(rows, n.published(p)...)
			rows = append(rows, n.opened(p)...)
		}
	}
	return rows
}

// published are the target's host ports.
func (n caseNetwork) published(p model.Protocol) (rows []desired.Row) {
	t := PlaceOf(n.target)
	if n.base == 0 {
		return nil
	}
	at := func(host string, first, last, to uint16) {
		r := Publish(p, host, [2]uint16{n.base + first, n.base + last}, SameFamily(host, t.IP4, t.IP6), to)
		r.Bridge = t.Bridge
		rows = append(rows, r)
	}
	for _, host := range []string{"0.0.0.0", "::"} {
		at(host, everywhere, everywhere, caseDirect)
		at(host, wholeRange, wholeRange+rangeExtent, n.base+wholeRange)
	}
	for _, host := range []string{Uplink4, Uplink6} {
		at(host, atUplink, atUplink, 81)
		at(host, shifted, shifted+rangeExtent, 90)
	}
	at("127.0.0.1", atLocalhost, atLocalhost, 82)
	return rows
}

// opened is what may be reached at the target's own address.
func (n caseNetwork) opened(p model.Protocol) (rows []desired.Row) {
	t := PlaceOf(n.target)
	for _, ip := range []string{t.IP4, t.IP6} {
		addr := netip.MustParseAddr(ip)
		port := desired.Direct{Bridge: t.Bridge, Addr: addr, Protocol: p, First: caseDirect, Last: caseDirect}
		switch n.direct {
		case directTrusted:
			rows = append(rows, desired.DirectFrom{Interface: PlaceOf("out").Host, Direct: port})
		case directPorts:
			rows = append(rows, port)
		case directAll:
			if p == model.UDP { // one row for all protocols
				rows = append(rows, desired.Direct{Bridge: t.Bridge, Addr: addr})
			}
		}
	}
	return rows
}

// Case is one packet, and what must become of it.
type Case struct {
	network  caseNetwork
	from, to string // places; from may be the host
	ip       string
	port     uint16
	protocol model.Protocol

	arrives bool
	at      uint16 // port of the target
	source  string // that the target sees
}

// String is the case in a line.
func (c Case) String() string {
	fate := "nowhere"
	if c.arrives {
		fate = fmt.Sprintf("%s, from %s", netip.AddrPortFrom(netip.MustParseAddr(SameFamily(c.ip, PlaceOf(c.to).IP4, PlaceOf(c.to).IP6)), c.at), c.source)
	}
	family := SameFamily(c.ip, "IPv4", "IPv6")
	return fmt.Sprintf("%-28s %-5s %s %s to %s -> %s", c.network.settings, c.from, family, c.protocol,
		netip.AddrPortFrom(netip.MustParseAddr(c.ip), c.port), fate)
}

// Cases are all of them, in an order that stays.
func Cases() (out []Case) {
	for _, n := range caseNetworks() {
		for _, from := range []string{"out", "far", n.peer, n.target, n.otherNetwork(), "i2", "host"} {
			for _, six := range []bool{false, true} {
				out = append(out, n.casesFrom(from, six)...)
			}
		}
		for _, six := range []bool{false, true} {
			out = append(out, n.casesOut(six)...)
		}
	}
	return out
}

// otherNetwork is a container on another network, not an internal one.
func (n caseNetwork) otherNetwork() string {
	if n.target == "a1" {
		return "u2"
	}
	return "a2"
}

// visitTo is an address and port that a case is about.
type visitTo struct {
	ip    string
	port  uint16 // with base added
	inner uint16
	form  int // how it is published; directForm is at the container's own address
}

const directForm = -1

func (n caseNetwork) visits(six bool) []visitTo {
	t := PlaceOf(n.target)
	family := func(four, sixth string) string {
		if six {
			return sixth
		}
		return four
	}
	uplink, second := family(Uplink4, Uplink6), family(HostOf(PlaceOf("far").IP4, 24), HostOf(PlaceOf("far").IP6, 64))
	own, gateway := family(t.IP4, t.IP6), family(HostOf(t.IP4, 24), HostOf(t.IP6, 64))
	out := []visitTo{{own, caseDirect, caseDirect, directForm}, {own, caseUnlisted, caseUnlisted, directForm}}
	base := n.base
	if base == 0 { // not published: some port
		base = 21900
	}
	host := func(ip string, form, offset int, inner uint16) {
		out = append(out, visitTo{ip, base + uint16(form+offset), inner, form})
	}
	for _, ip := range []string{uplink, second, gateway} {
		host(ip, everywhere, 0, caseDirect)
		host(ip, atUplink, 0, 81)
		host(ip, wholeRange, rangeExtent, base+wholeRange+rangeExtent)
	}
	host(uplink, shifted, 3, 93)
	host(uplink, atLocalhost, 0, 82)
	host(uplink, unpublished, 0, 0)
	if !six {
		for _, form := range []int{everywhere, atUplink, atLocalhost} {
			host("127.0.0.1", form, 0, []uint16{caseDirect, 81, 82}[form])
		}
	}
	return out
}

func (n caseNetwork) casesFrom(from string, six bool) (out []Case) {
	for _, v := range n.visits(six) {
		for _, p := range []model.Protocol{model.UDP, model.TCP} {
			switch {
			case from == "host" && (p == model.TCP || n.internal && v.form != directForm): // sockets send datagrams; see published/
				continue
			case from == n.target && v.form == directForm, n.internal && from == "i2" && from != n.peer:
				continue
			case p == model.TCP && v.port != n.base && v.port != n.base+atUplink && v.form != directForm:
				continue
			}
			c := Case{network: n, from: from, to: n.target, ip: v.ip, port: v.port, protocol: p}
			if c.arrives = n.lets(from, v); c.arrives {
				c.at, c.source = v.inner, n.seenFrom(from, v)
			}
			out = append(out, c)
		}
	}
	return out
}

// lets tells whether a sender reaches the target so.
func (n caseNetwork) lets(from string, v visitTo) bool {
	outside, internal := from == "out" || from == "far", placeOrHost(from).Bridge == "br-i" && !n.internal
	switch {
	case from == "host" && v.form == directForm:
		return true
	case internal:
		return false
	case v.form != directForm:
		return n.base != 0 && !n.internal && v.isPublished(from)
	case from == n.peer:
		return n.icc
	case n.internal:
		return false
	case n.direct == directTrusted:
		return from == "out" && v.port == caseDirect
	case n.direct == directPorts:
		return v.port == caseDirect
	}
	return n.direct == directAll && (outside || !internal)
}

// isPublished tells whether the host's address and port lead to a container, for a sender.
func (v visitTo) isPublished(from string) bool {
	loopback := netip.MustParseAddr(v.ip).IsLoopback()
	if loopback && from != "host" {
		return false
	}
	switch v.form {
	case everywhere, wholeRange:
		return true
	case atUplink, shifted:
		return v.ip == Uplink4 || v.ip == Uplink6
	case atLocalhost:
		return loopback
	}
	return false
}

// seenFrom is the sender as the target sees it: itself, unless answers would not come back.
func (n caseNetwork) seenFrom(from string, v visitTo) string {
	t, p := PlaceOf(n.target), placeOrHost(from)
	gateway := SameFamily(v.ip, HostOf(t.IP4, 24), HostOf(t.IP6, 64))
	switch {
	case from == "host" && v.form != directForm && v.ip != "127.0.0.1":
		return v.ip
	case from == "host", p.Bridge == t.Bridge && v.form != directForm:
		return gateway
	}
	return SameFamily(v.ip, p.IP4, p.IP6)
}

// placeOrHost is the place of that name; one without anything for the host.
func placeOrHost(name string) Place {
	if name == "host" {
		return Place{Name: name}
	}
	return PlaceOf(name)
}

// casesOut leave the network to other machines.
func (n caseNetwork) casesOut(six bool) (out []Case) {
	t := PlaceOf(n.target)
	for _, to := range []string{"out", "far"} {
		for _, p := range []model.Protocol{model.UDP, model.TCP} {
			m := PlaceOf(to)
			c := Case{network: n, from: n.target, to: to, ip: m.IP4, port: 7777, protocol: p, arrives: n.leaves != "", at: 7777}
			sources := map[string]string{"host": HostOf(m.IP4, 24), "chosen": chosen["br-b4"].String(), "own": t.IP4}
			if six {
				c.ip = m.IP6
				sources = map[string]string{"host": HostOf(m.IP6, 64), "chosen": chosen["br-b6"].String(), "own": t.IP6}
			}
			c.source = sources[n.leaves]
			out = append(out, c)
		}
	}
	return out
}

// frame is the case's packet, as its sender puts it on the wire: to the neighbour's MAC
// address on its own network, else to the host's. That of the host is behind its own stack.
func (c Case) frame(id int) []byte {
	from, mac := placeOrHost(c.from), UplinkMAC
	src := SameFamily(c.ip, from.IP4, from.IP6)
	switch target := PlaceOf(c.to); {
	case c.from == "host":
		src = c.hostSource()
		return frames.Between(mac, mac, src, c.ip).UDP(uint16(10000+id), c.port, id)
	case from.Bridge != "" && from.Bridge == target.Bridge && slices.Contains([]string{target.IP4, target.IP6}, c.ip):
		mac = target.MAC
	default:
		mac = from.GatewayMAC()
	}
	h, sport := frames.Between(mac, from.MAC, src, c.ip), uint16(10000+id)
	if c.protocol == model.TCP {
		return h.TCP([2]uint16{sport, c.port}, frames.SYN, id)
	}
	return h.UDP(sport, c.port, id)
}

// hostSource is the address that the host's own stack takes.
func (c Case) hostSource() string {
	if a := netip.MustParseAddr(c.ip); IsLocal(a) {
		return c.ip
	}
	t := PlaceOf(c.to)
	return SameFamily(c.ip, HostOf(t.IP4, 24), HostOf(t.IP6, 64))
}

// Packet is the case's packet as the explanation of a firewall is asked about it.
func (c Case) Packet() facts.TracePacket {
	p := facts.TracePacket{To: netip.AddrPortFrom(netip.MustParseAddr(c.ip), c.port), Protocol: c.protocol}
	if c.from != "host" {
		from := PlaceOf(c.from)
		p.From = netip.MustParseAddr(SameFamily(c.ip, from.IP4, from.IP6))
	}
	return p
}

// Wrong says what of an explanation is not as the case has it; empty if nothing is.
func (c Case) Wrong(t facts.Trace) string {
	to := PlaceOf(c.to)
	arrives := t.Outcome == facts.OutcomeAccepted && t.Out == to.Host
	switch {
	case t.Outcome == facts.OutcomeUnknown, arrives != c.arrives:
		return fmt.Sprintf("%s, by %q", t.Outcome, t.Out)
	case !arrives:
		return ""
	case t.To.Port() != c.at || !slices.Contains([]string{to.IP4, to.IP6}, t.To.Addr().String()):
		return "arrives at " + t.To.String()
	case t.From.String() != c.source:
		return "arrives from " + t.From.String()
	}
	return ""
}
