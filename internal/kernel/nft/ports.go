package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/field"
	"github.com/linkspan/linkspan/internal/model"
)

// Published ports are elements and nothing else. Each stands in two places:
//
//	ports…, ranges…  where a connection to a host port goes; counts connections
//	open…            what may therefore come in; counts its traffic
//
// both by the host's address and port as the client names them. The sets are of
// one shape in both families; "_any" are those for every address of the host. A
// range is one element. Where the container's ports are numbered otherwise than
// the host's, its entry in the map is one element per port all the same, since
// nftables cannot add.
const (
	setPorts4     = "ports4"
	setPorts6     = "ports6"
	setPorts4Any  = "ports4_any"
	setPorts6Any  = "ports6_any"
	setRanges4    = "ranges4"
	setRanges6    = "ranges6"
	setRanges4Any = "ranges4_any"
	setRanges6Any = "ranges6_any"

	setOpen4      = "open4"
	setOpen6      = "open6"
	setOpen4Range = "open4_ranges"
	setOpen6Range = "open6_ranges"
	setOpenAny    = "open_any"
	setOpenRange  = "open_any_ranges"

	setHome4 = "home4"
	setHome6 = "home6"
	setSame  = "same"

	chainPublish   = "publish"
	chainPublished = "published"
	chainOpen      = "open"
	chainDirect    = "direct"
	chainEntering  = "entering"
	chainShut      = "shut"
)

func portSets() []set {
	const host, hostRange = "published host ports", "published ranges of host ports"
	proto4 := []datatype{typeTransport, typeIPv4, typePort}
	proto6 := []datatype{typeTransport, typeIPv6, typePort}
	anyAddr := []datatype{typeTransport, typePort}
	family := []datatype{typeNFProto, typeTransport, typePort}
	to4, to6 := []datatype{typeIPv4, typePort}, []datatype{typeIPv6, typePort}
	only4, only6 := to4[:1], to6[:1] // a range keeps its numbers
	return []set{
		{name: setPorts4, comment: host, key: proto4, data: to4, counted: true},
		{name: setPorts6, comment: host, key: proto6, data: to6, counted: true},
		{name: setPorts4Any, comment: host, key: anyAddr, data: to4, counted: true},
		{name: setPorts6Any, comment: host, key: anyAddr, data: to6, counted: true},
		{name: setRanges4, comment: hostRange, key: proto4, data: only4, interval: true, counted: true},
		{name: setRanges6, comment: hostRange, key: proto6, data: only6, interval: true, counted: true},
		{name: setRanges4Any, comment: hostRange, key: anyAddr, data: only4, interval: true, counted: true},
		{name: setRanges6Any, comment: hostRange, key: anyAddr, data: only6, interval: true, counted: true},
		{name: setOpen4, comment: "let in, by the destination that the client names", key: proto4, counted: true},
		{name: setOpen6, comment: "let in, by the destination that the client names", key: proto6, counted: true},
		{name: setOpen4Range, comment: "let in, ranges of ports", key: proto4, interval: true, counted: true},
		{name: setOpen6Range, comment: "let in, ranges of ports", key: proto6, interval: true, counted: true},
		{name: setOpenAny, comment: "let in if translated, at every address of the host", key: family, counted: true},
		{name: setOpenRange, comment: "let in if translated, ranges of ports", key: family, interval: true, counted: true},
		{name: setHome4, comment: "containers and their bridges", key: []datatype{typeIfname, typeIPv4}},
		{name: setHome6, comment: "containers and their bridges", key: []datatype{typeIfname, typeIPv6}},
		{name: setSame, comment: "each bridge with itself", key: []datatype{typeIfname, typeIfname}},
	}
}

// portChains are hooked in before routing (for what comes from outside and from
// containers), on output (for the host's own programs, localhost included) and
// where packets are let in. nat chains see the first packet of a connection
// only.
func portChains() []chain {
	const (
		priorityEarly   = -450 // NF_IP_PRI_RAW_BEFORE_DEFRAG: fragments are not collected first
		priorityNATDest = -100
		priorityFilter  = 0
	)
	counted := jump("traffic of published ports", chainPublished, translated())
	return []chain{
		{chainPublish, base{}, publishRules()},
		{chainOpen, base{}, openRules()},
		{chainPublished, base{}, publishedRules()},
		{chainDirect, base{}, directRules()},
		{chainEntering, base{}, enteringRules()},
		{chainStrange, base{}, strangeRules()},
		{chainShut, base{}, shutRules()},
		{"early", base{"filter", unix.NF_INET_PRE_ROUTING, priorityEarly}, earlyRules()},
		{"prerouting", base{"nat", unix.NF_INET_PRE_ROUTING, priorityNATDest}, []rule{
			accept("IPv6 link-local sources: the kernel does not forward them",
				is(field.Family, unix.NFPROTO_IPV6), under(field.IP6Source, linkLocal6(), linkLocal6Mask())),
			jump("published ports", chainPublish),
		}},
		{"answered", base{"filter", unix.NF_INET_PRE_ROUTING, priorityNATDest + 1}, []rule{tellFence()}},
		{"output", base{"nat", unix.NF_INET_LOCAL_OUT, priorityNATDest}, []rule{
			accept("::1: the kernel does not route it, a forwarder in user space serves it",
				is(field.Family, unix.NFPROTO_IPV6), is(field.IP6Destination, netip.IPv6Loopback().AsSlice()...)),
			accept("link-local: the kernel does not forward it either",
				is(field.Family, unix.NFPROTO_IPV6), under(field.IP6Destination, linkLocal6(), linkLocal6Mask())),
			jump("published ports", chainPublish),
		}},
		{"input", base{"filter", unix.NF_INET_LOCAL_IN, priorityFilter}, append([]rule{strange(), counted}, hostRules()...)},
		{"sent", base{"filter", unix.NF_INET_LOCAL_OUT, priorityFilter}, []rule{counted}},
	}
}

// earlyRules come before connection tracking. Bridges of ours route localhost
// (route_localnet), so that the host's own 127.0.0.1 leads to containers; here
// is why nobody else gets at it.
func earlyRules() []rule {
	loopback, mask := []byte{127, 0, 0, 0}, []byte{255, 0, 0, 0}
	return []rule{
		accept("within this host", is(field.IIFName, ifname("lo")...)),
		byThePortItself(),
		drop("127.0.0.0/8 is for this host alone", is(field.Family, unix.NFPROTO_IPV4), under(field.IP4Source, loopback, mask)),
		drop("127.0.0.0/8 is for this host alone", is(field.Family, unix.NFPROTO_IPV4), under(field.IP4Destination, loopback, mask)),
	}
}

// enteringRules are for what comes into a network from elsewhere. Without them,
// a source inside could be claimed from outside where the host does not filter
// by reverse path.
func enteringRules() []rule {
	return []rule{
		drop("a container's source address from outside", is(field.Family, unix.NFPROTO_IPV4), in(setMasq4, field.IP4Source)),
		drop("a container's source address from outside", is(field.Family, unix.NFPROTO_IPV6), in(setMasq6, field.IP6Source)),
	}
}

// toPublished is why a connection is sent elsewhere.
const toPublished = "a published port"

// publishRules send a connection to where the host port leads.
func publishRules() []rule {
	return []rule{
		accept("not addressed to this host", isNot(field.DestinationType, native32(unix.RTN_LOCAL)...)),
		dnat4(setPorts4, true, transportPart(), ip4Part(), portPart()),
		dnat6(setPorts6, true, transportPart(), ip6Part(), portPart()),
		dnat4(setRanges4, false, transportPart(), ip4Part(), portPart()),
		dnat6(setRanges6, false, transportPart(), ip6Part(), portPart()),
		dnat4(setPorts4Any, true, transportPart(), portPart()),
		dnat6(setPorts6Any, true, transportPart(), portPart()),
		dnat4(setRanges4Any, false, transportPart(), portPart()),
		dnat6(setRanges6Any, false, transportPart(), portPart()),
	}
}

// publishedRules are for connections that were translated, in both directions.
// They look at the destination as the client named it.
func publishedRules() []rule {
	return []rule{
		drop("out of an internal network", in(setInternal, field.IIFName)),
		drop("into an internal network", in(setInternal, field.OIFName)),
		accept("a published port", inJoined(setOpenAny, familyPart(), transportPart(), origPortPart())),
		accept("a published range", inJoined(setOpenRange, familyPart(), transportPart(), origPortPart())),
		jump("ports published on one address", chainOpen),
	}
}

func openRules() []rule {
	const what = "to a port that is open at this address"
	return []rule{
		accept(what, inJoined(setOpen4, transportPart(), orig4Part(), origPortPart())),
		accept(what, inJoined(setOpen6, transportPart(), orig6Part(), origPortPart())),
		accept(what, inJoined(setOpen4Range, transportPart(), orig4Part(), origPortPart())),
		accept(what, inJoined(setOpen6Range, transportPart(), orig6Part(), origPortPart())),
	}
}

// hairpinRules have answers come back through this host where they would take a
// shorter way, or none.
func hairpinRules() []rule {
	const shared = "to a published port of its own network"
	loopback, mask := []byte{127, 0, 0, 0}, []byte{255, 0, 0, 0}
	return []rule{
		masquerade("from localhost to a published port",
			is(field.Family, unix.NFPROTO_IPV4), under(field.IP4Source, loopback, mask), in(setBridges, field.OIFName), translated()),
		masquerade(shared, translated(), in(setSame, field.IIFName, field.OIFName)),
		// With br_netfilter such packets are bridged, and have no interface that
		// they came in by.
		masquerade(shared, is(field.Family, unix.NFPROTO_IPV4), translated(), in(setHome4, field.OIFName, field.IP4Source)),
		masquerade(shared, is(field.Family, unix.NFPROTO_IPV6), translated(), in(setHome6, field.OIFName, field.IP6Source)),
	}
}

// dnat4 sends a connection to where the map leads: an address and a port, or an
// address alone.
func dnat4(set string, port bool, parts ...part) rule {
	return dnat(toPublished, unix.NFPROTO_IPV4, natTo{set, port, parts})
}

func dnat6(set string, port bool, parts ...part) rule {
	return dnat(toPublished, unix.NFPROTO_IPV6, natTo{set, port, parts})
}

// natTo is a look-up of where to.
type natTo struct {
	set   string
	port  bool // the map says a port as well
	parts []part
}

// lookUp is where to, by the parts and what rest loads behind them.
func (t natTo) lookUp(rest ...expr.Any) match {
	first := register(0)
	return append(append(joined(t.parts), rest...), &expr.Lookup{SourceRegister: first, SetName: t.set, DestRegister: first, IsDestRegSet: true})
}

func dnat(why string, nfproto byte, to natTo) rule {
	return dnatTo(why, nfproto, to.port, to.lookUp())
}

// dnatTo translates the destination to what a look-up finds.
func dnatTo(why string, nfproto byte, port bool, found match) rule {
	addrWords := uint32(1)
	if nfproto == unix.NFPROTO_IPV6 {
		addrWords = 4
	}
	first := register(0)
	nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(nfproto), RegAddrMin: first, RegAddrMax: first}
	if port {
		nat.RegProtoMin = register(addrWords)
		nat.RegProtoMax, nat.Specified = nat.RegProtoMin, true
	}
	return decide(why, nat, []match{is(field.Family, nfproto), found})
}

// publication is a Publish that makes sense, in the form that elements have.
type publication struct {
	desired.Publish
	number byte // of the protocol
}

func renderPublish(r desired.Publish) ([]element, error) {
	number := r.Protocol.Number()
	r.Host, r.To = r.Host.Unmap(), r.To.Unmap()
	switch {
	case number == 0:
		return nil, model.Errorf(model.Invalid, "publish: protocol %q", r.Protocol)
	case !r.Host.IsValid() || r.To.IsUnspecified() || r.Host.BitLen() != r.To.BitLen():
		return nil, model.Errorf(model.Invalid, "publish: from %v to %v", r.Host, r.To)
	case r.First == 0 || r.Last < r.First || r.ToFirst == 0 || r.ToFirst > 65535-(r.Last-r.First):
		return nil, model.Errorf(model.Invalid, "publish: ports %d to %d at %d", r.First, r.Last, r.ToFirst)
	}
	p := publication{r, number}
	out := []element{p.open()}
	if r.First != r.Last && r.First == r.ToFirst {
		return append(out, p.wholeRange()), nil
	}
	for i := range int(r.Last-r.First) + 1 {
		out = append(out, p.port(uint16(i)))
	}
	return out, nil
}

// renderServed has the ports among those that are open, where they are known as
// published. Nothing comes in by it: what user space serves is not translated.
func renderServed(r desired.Served) ([]element, error) {
	p := publication{desired.Publish{Host: r.Host.Unmap(), First: r.First, Last: r.Last}, r.Protocol.Number()}
	if p.number == 0 || !p.Host.IsValid() || p.First == 0 || p.Last < p.First {
		return nil, model.Errorf(model.Invalid, "serve: %s ports %d to %d at %v", r.Protocol, r.First, r.Last, r.Host)
	}
	return []element{p.open()}, nil
}

// key is the key of a host port in maps.
func (p publication) key(port uint16) string {
	if p.Host.IsUnspecified() {
		return word(p.number) + portWord(port)
	}
	return destinationKey(p.number, p.Host, port)
}

// open is what lets the publication's packets in.
func (p publication) open() element {
	if p.Host.IsUnspecified() {
		head := word(nfproto(p.Host)) + word(p.number)
		return spread(setOpenAny, setOpenRange, head+portWord(p.First), head+portWord(p.Last))
	}
	return openAt(p.number, p.Host, p.First, p.Last)
}

func (p publication) wholeRange() element {
	name := pick(p.Host, setRanges4, setRanges6)
	if p.Host.IsUnspecified() {
		name = pick(p.Host, setRanges4Any, setRanges6Any)
	}
	return element{set: name, key: p.key(p.First), last: p.key(p.Last), data: addrKey(p.To)}
}

// port is the publication's port with that number, counted from 0.
func (p publication) port(i uint16) element {
	name := pick(p.Host, setPorts4, setPorts6)
	if p.Host.IsUnspecified() {
		name = pick(p.Host, setPorts4Any, setPorts6Any)
	}
	return element{set: name, key: p.key(p.First + i), data: addrKey(p.To) + portWord(p.ToFirst+i)}
}

// openAt opens ports at one address.
func openAt(number byte, addr netip.Addr, first, last uint16) element {
	single, several := pick(addr, setOpen4, setOpen6), pick(addr, setOpen4Range, setOpen6Range)
	return spread(single, several, destinationKey(number, addr, first), destinationKey(number, addr, last))
}

// spread is an element of the one set if its ends are the same, else of the
// other, whose elements are ranges.
func spread(single, several, first, last string) element {
	if first == last {
		return element{set: single, key: first}
	}
	return element{set: several, key: first, last: last}
}

func pick(a netip.Addr, four, six string) string {
	if a.Is4() {
		return four
	}
	return six
}

func nfproto(a netip.Addr) byte {
	if a.Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

func destinationKey(number byte, addr netip.Addr, port uint16) string {
	return word(number) + addrKey(addr) + portWord(port)
}

// word is one byte as a part of a concatenation, which fills a whole register.
func word(b byte) string { return string([]byte{b, 0, 0, 0}) }

// portWord is a port as a part of a concatenation.
func portWord(port uint16) string {
	return string(append(binary.BigEndian.AppendUint16(nil, port), 0, 0))
}
