package nft

import (
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/field"
)

// tableName is the name of our tables, one of family inet and one of family
// bridge.
const tableName = "linkspan"

// The sets, by the names that rules and elements use. No name occurs in both
// tables.
const (
	setBridges  = "bridges"
	setInternal = "internal"
	setIntra    = "intra"
	setMasq4    = "masq4"
	setMasq6    = "masq6"
	setGuard    = "guard"
	setSource4  = "source4"
	setSource6  = "source6"
	setNoICC    = "no_icc"
)

// table is everything in one of our tables except the elements of its sets,
// which are all that changes from day to day.
type table struct {
	family  byte
	name    string
	comment string
	owned   bool // nobody else may change it, and it ends with our socket
	gone    bool // it is not to be there
	sets    []set
	chains  []chain
}

func (t table) String() string {
	switch t.family {
	case unix.NFPROTO_BRIDGE:
		return "table bridge " + t.name
	case unix.NFPROTO_IPV4:
		return "table ip " + t.name
	}
	return "table inet " + t.name
}

// base says where packets enter a base chain. Policies are always accept: the
// tables say what is dropped, and an accept here does not overrule a drop in
// somebody else's chain. The zero base is a chain that is jumped to.
type base struct {
	kind     string // "filter" or "nat"
	hook     uint32
	priority int32
}

type chain struct {
	name  string
	base  base
	rules []rule
}

type rule struct {
	comment string
	exprs   []expr.Any
}

// shape is what the constant part of the ruleset depends on.
type shape struct {
	instance   string // of the engine that owns it
	off4, off6 bool   // families to be left alone
	beside     bool   // another backend decides about packets
	held       string // the name of tables that hold for others (heldTables)
	balance    bool   // the table that balances, and no other (balanceTable)

	// What follows from rows: the mark that is let in, if one is, how many networks have
	// transparent sockets, which not every kernel can match, and how many keep their
	// containers apart.
	accept  desired.AcceptMark
	marked  bool
	sockets int
	apart   int
}

// follow is the shape with deltas of its rows.
func (s shape) follow(deltas []desired.Delta) shape {
	for _, d := range deltas {
		switch r := d.Old.(type) {
		case desired.BridgePolicy:
			if !r.ICC {
				s.apart--
			}
		case desired.AcceptMark:
			s.accept, s.marked = desired.AcceptMark{}, false
		case desired.Transparent:
			s.sockets--
		}
		switch r := d.New.(type) {
		case desired.BridgePolicy:
			if !r.ICC {
				s.apart++
			}
		case desired.AcceptMark:
			s.accept, s.marked = r, true
		case desired.Transparent:
			s.sockets++
		}
	}
	return s
}

// same tells whether two shapes have the same tables.
func (s shape) same(o shape) bool {
	any := s.sockets > 0 == (o.sockets > 0) && (s.held == "" || s.apart > 0 == (o.apart > 0))
	s.sockets, s.apart = o.sockets, o.apart
	return any && s == o
}

// of is the shape for exactly these rows.
func (s shape) of(rows []desired.Row) shape {
	s.accept, s.marked, s.sockets, s.apart = desired.AcceptMark{}, false, 0, 0
	for _, row := range rows {
		s = s.follow([]desired.Delta{{New: row}})
	}
	return s
}

// tables is the skeleton of the ruleset.
func (s shape) tables() []table {
	if s.held != "" {
		return heldTables(s)
	}
	mark := "linkspan"
	if s.instance != "" {
		mark = "linkspan:" + s.instance
	}
	if s.balance {
		return []table{balanceTable(mark)}
	}
	packets := inetTable(mark, s)
	if s.beside {
		packets = besideTable(mark)
	}
	if s.sockets > 0 {
		packets.chains = append(packets.chains, socketChains()...)
	}
	return []table{s.leaveAlone(packets), bridgeTable(mark)}
}

// leaveAlone has packets of the families that are not ours to judge pass by.
func (s shape) leaveAlone(t table) table {
	var first []rule
	if s.off4 {
		first = append(first, accept("a family that is not looked after", is(field.Family, unix.NFPROTO_IPV4)))
	}
	if s.off6 {
		first = append(first, accept("a family that is not looked after", is(field.Family, unix.NFPROTO_IPV6)))
	}
	for i, c := range t.chains {
		if c.base.kind != "" {
			t.chains[i].rules = slices.Concat(first, c.rules)
		}
	}
	return t
}

func inetTable(mark string, s shape) table {
	const priorityFilter, priorityNATSource = 0, 100
	return table{
		family: unix.NFPROTO_INET, name: tableName, comment: mark,
		sets: slices.Concat([]set{
			{name: setBridges, comment: "bridges of ours", key: []datatype{typeIfname}, deny: true},
			{name: setInternal, comment: "bridges with no way in or out", key: []datatype{typeIfname}, deny: true},
			{name: setIntra, comment: "bridges whose containers may talk to one another", key: []datatype{typeIfname, typeIfname}},
			{name: setMasq4, comment: "subnets that leave under the host's address", key: []datatype{typeIPv4}, interval: true},
			{name: setMasq6, comment: "subnets that leave under the host's address", key: []datatype{typeIPv6}, interval: true},
			{name: setSource4, comment: "addresses that bridges' subnets leave under, where one was chosen", key: []datatype{typeIfname}, data: []datatype{typeIPv4}},
			{name: setSource6, comment: "addresses that bridges' subnets leave under, where one was chosen", key: []datatype{typeIfname}, data: []datatype{typeIPv6}},
			{name: setGuard, comment: "families not forwarded between foreign interfaces", key: []datatype{typeNFProto}, deny: true},
		}, portSets(), directSets(), abroadSets(), hopSets(), linkSets(setLink4, setLink6), socketSets()),
		chains: append(portChains(),
			chain{chainHops4, base{}, hopRules(setHops4, hop4Part())},
			chain{chainHops6, base{}, hopRules(setHops6, hop6Part())},
			chain{"forward", base{"filter", unix.NF_INET_FORWARD, priorityFilter}, forwardRules(s)},
			chain{"postrouting", base{"nat", unix.NF_INET_POST_ROUTING, priorityNATSource}, masqueradeRules()},
		),
	}
}

// forwardRules keeps the border of every network of ours. The order matters:
// an internal network is closed before established connections are let
// through, so that no connection from before it was internal, and none made up,
// gets out. Published ports come first because they are counted there; they keep
// internal networks closed as well.
func forwardRules(s shape) []rule {
	return slices.Concat([]rule{
		jump("into a network from elsewhere", chainEntering, in(setBridges, field.OIFName), notIn(setBridges, field.IIFName)),
		tellBridge(),
	}, newHops(), []rule{
		jump("published ports, both ways", chainPublished, translated()),
		accept("within one network (frames that br_netfilter shows to this chain)", in(setIntra, field.IIFName, field.OIFName)),
		drop("out of an internal network", in(setInternal, field.IIFName)),
		drop("into an internal network", in(setInternal, field.OIFName)),
		accept("answers to what was let through", answering()),
	}, linkedPackets(), acceptMarked(s), []rule{
		jump("to a container's own address", chainDirect, in(setBridges, field.OIFName)),
		drop("unpublished ports, other networks, direct routing", in(setBridges, field.OIFName)),
		drop("of no connection: nothing would translate its source", in(setBridges, field.IIFName), stray()),
		drop("neighbour discovery, which is for its link and not translated either",
			in(setBridges, field.IIFName), is(field.Family, unix.NFPROTO_IPV6), is(field.Protocol, unix.IPPROTO_ICMPV6), untracked()),
		drop("from a link-local address, which is for its link (RFC 3927, section 2.7)",
			in(setBridges, field.IIFName), is(field.Family, unix.NFPROTO_IPV4), under(field.IP4Source, linkLocal4(), linkLocal4Mask())),
		strange(),
		accept("out of a network", in(setBridges, field.IIFName)),
		drop("neither side is ours and forwarding is on only for us", in(setGuard, field.Family)),
	})
}

func masqueradeRules() []rule {
	return slices.Concat([]rule{accept("stays on this host", is(field.OIFName, ifname("lo")...))}, hairpinRules(), []rule{
		accept("stays in our networks, with its true source", in(setBridges, field.OIFName)),
		leaveAs(unix.NFPROTO_IPV4, setSource4, in(setMasq4, field.IP4Source)),
		leaveAs(unix.NFPROTO_IPV6, setSource6, in(setMasq6, field.IP6Source)),
		masquerade("leaves under the host's address", is(field.Family, unix.NFPROTO_IPV4), in(setMasq4, field.IP4Source)),
		masquerade("leaves under the host's address", is(field.Family, unix.NFPROTO_IPV6), in(setMasq6, field.IP6Source)),
	})
}

// leaveAs gives what comes from a bridge the source that the map has for it. The
// interface that a packet came in by is known here since Linux 5.7.
func leaveAs(nfproto byte, set string, from match) rule {
	first := register(0)
	return decide("leaves under an address of the host that was chosen",
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(nfproto), RegAddrMin: first, RegAddrMax: first},
		[]match{is(field.Family, nfproto), from, {field.IIFName(first), &expr.Lookup{SourceRegister: first, SetName: set, DestRegister: first, IsDestRegSet: true}}})
}

// priorityICC is behind br_netfilter (NF_BR_PRI_BRNF, 0), which shows frames to the table of
// family inet, and behind heldTables.
const priorityICC = 2

func noICCSet() set {
	return set{name: setNoICC, comment: "ports of networks with icc=false", key: []datatype{typeIfname}, deny: true}
}

func bridgeTable(mark string) table {
	const priorityFilter = -200 // NF_BR_PRI_FILTER_BRIDGED: before br_netfilter looks
	// Bridge hooks (NF_BR_*) go by the same numbers as those of inet.
	filter := func(hook uint32) base { return base{"filter", hook, priorityFilter} }
	return table{
		family: unix.NFPROTO_BRIDGE, name: tableName, comment: mark,
		sets: slices.Concat(portSecuritySets(), dropSets(), learnSets(), []set{noICCSet()}, linkSets(setLinked4, setLinked6)),
		chains: append(append(portSecurityChains(), learnChains(priorityFilter)...), []chain{
			{"prerouting", filter(unix.NF_INET_PRE_ROUTING), []rule{
				reservedGroup(),
				jump("frames from a port of ours; foreign ports are left alone", chainPort, fromOurs()),
			}},
			{"input", filter(unix.NF_INET_LOCAL_IN), []rule{reservedGroup()}},
			{"forward", filter(unix.NF_INET_FORWARD), []rule{
				withoutPolicy(),
				drop("a container's own broadcast, which a hairpin port sends back", multicast(), toItself()),
			}},
			{"apart", base{}, append(linkedFrames(true), drop("between containers, icc=false"))},
			{"icc", base{"filter", unix.NF_INET_FORWARD, priorityICC}, apartRules()},
			{"output", filter(unix.NF_INET_LOCAL_OUT), []rule{withoutPolicy()}},
		}...),
	}
}

// apartRules keep the containers of a network with icc=false from one another. They
// come after br_netfilter, which translates frames to published ports as well.
func apartRules() []rule {
	return []rule{toldByForward(), betweenApart()}
}

func betweenApart() rule {
	return jump("between containers, icc=false", "apart", in(setNoICC, field.IIFName), toOurs(), isNot(field.EtherType, 0x08, 0x06))
}

func fromOurs() match { return is(field.IIFGroup, native32(desired.PortGroup)...) }
func toOurs() match   { return is(field.OIFGroup, native32(desired.PortGroup)...) }

func multicast() match {
	group := []byte{1, 5: 0}
	return under(field.EtherDestination, group, group)
}

// toItself matches what goes back to the port that it came from.
func toItself() match { return in(setItself, field.IIFName, field.OIFName) }

func withoutPolicy() rule {
	return drop("to a port that has no policy", toOurs(), notIn(setPinned, field.OIFName))
}

// linkLocal4 and linkLocal4Mask are 169.254.0.0/16.
func linkLocal4() []byte     { return []byte{169, 254, 0, 0} }
func linkLocal4Mask() []byte { return []byte{0xff, 0xff, 0, 0} }

// linkLocal6 and linkLocal6Mask are fe80::/10.
func linkLocal6() []byte     { return []byte{0xfe, 0x80, 15: 0} }
func linkLocal6Mask() []byte { return []byte{0xff, 0xc0, 15: 0} }

// ifname is an interface name as the kernel compares it: padded with zeros.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}
