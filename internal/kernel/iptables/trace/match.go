package trace

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
)

// answer is what a match says: it holds, it does not, or that cannot be told.
type answer int

const (
	no answer = iota
	yes
	unsure
)

func when(b bool) answer {
	if b {
		return yes
	}
	return no
}

func (a answer) unless(not bool) answer {
	switch {
	case !not || a == unsure:
		return a
	case a == yes:
		return no
	}
	return yes
}

// matches tells whether a rule may match, and what speaks for doubt.
func (e *evaluation) matches(r *ruleset.Rule) (holds bool, doubt string) {
	if !e.basics(r) {
		return false, ""
	}
	for _, m := range r.Matches {
		switch e.match(m) {
		case no:
			return false, ""
		case unsure:
			doubt = cmp.Or(doubt, "nothing is known of what -m "+m.Module+" asks")
		}
	}
	return true, doubt
}

// basics are what every rule may ask.
func (e *evaluation) basics(r *ruleset.Rule) bool {
	p := e.packet
	for _, a := range []struct {
		want ruleset.Address
		is   netip.Addr
	}{{r.Source, p.Source()}, {r.Destination, p.Destination()}} {
		if a.want.Prefix.IsValid() && a.want.Prefix.Contains(a.is) == a.want.Not {
			return false
		}
	}
	for _, l := range []struct {
		want ruleset.Word
		is   string
	}{{r.In, p.In.Name}, {r.Out, p.Out.Name}} {
		if l.want.Text != "" && named(l.want.Text, l.is) == l.want.Not {
			return false
		}
	}
	return r.Protocol.Text == "" || e.header.has(r.Protocol.Text) != r.Protocol.Not
}

// named: a name that ends in "+" stands for all that begin so.
func named(want, is string) bool {
	if head, all := strings.CutSuffix(want, "+"); all {
		return strings.HasPrefix(is, head)
	}
	return want == is
}

func (e *evaluation) match(m ruleset.Match) answer {
	switch m.Module {
	case "comment":
		return yes
	case "tcp", "udp", "sctp", "dccp", "udplite":
		return e.ports(m)
	case "multiport":
		return e.multiport(m)
	case "conntrack", "state":
		return e.conntrack(m)
	case "addrtype":
		return e.addrType(m)
	case "mark":
		return e.mark(m)
	case "iprange":
		return e.addressRange(m)
	case "icmp", "icmp6":
		return e.icmp(m)
	case "devgroup":
		return e.group(m)
	case "limit":
		return yes
	case "hashlimit":
		_, above := m.Option("hashlimit-above")
		return when(!above)
	case "rpfilter":
		return e.reversePath(m)
	}
	return unsure
}

// all joins what options say.
func all(m ruleset.Match, ask func(ruleset.Option) answer) answer {
	out := yes
	for _, o := range m.Options {
		switch ask(o).unless(o.Not) {
		case no:
			return no
		case unsure:
			out = unsure
		}
	}
	return out
}

func one(o ruleset.Option) string {
	if len(o.Values) != 1 {
		return ""
	}
	return o.Values[0]
}

func (e *evaluation) ports(m ruleset.Match) answer {
	if !e.header.has(m.Module) {
		return no
	}
	return all(m, func(o ruleset.Option) answer {
		switch {
		case o.Name == "sport":
			return within(e.header.source, one(o))
		case o.Name == "dport":
			return within(e.header.destination, one(o))
		case o.Name == "syn":
			return e.flags("FIN,SYN,RST,ACK", "SYN")
		case o.Name == "tcp-flags" && len(o.Values) == 2:
			return e.flags(o.Values[0], o.Values[1])
		}
		return unsure
	})
}

// within looks for a port in "80" or "80:90".
func within(port uint16, s string) answer {
	first, last, several := strings.Cut(s, ":")
	if !several {
		last = first
	}
	a, errA := strconv.ParseUint(cmp.Or(first, "0"), 10, 16)
	b, errB := strconv.ParseUint(cmp.Or(last, "65535"), 10, 16)
	if s == "" || errA != nil || errB != nil {
		return unsure
	}
	return when(a <= uint64(port) && uint64(port) <= b)
}

func (e *evaluation) flags(mask, want string) answer {
	bits := func(list string) (out byte, ok bool) {
		for _, name := range strings.Split(list, ",") {
			switch i := slices.Index([]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"}, name); {
			case i >= 0:
				out |= 1 << i
			case name == "ALL":
				out = 0x3f
			case name != "NONE":
				return 0, false
			}
		}
		return out, true
	}
	m, okMask := bits(mask)
	w, okWant := bits(want)
	if !okMask || !okWant || !e.header.hasFlags {
		return unsure
	}
	return when(e.header.flags&m == w)
}

func (e *evaluation) multiport(m ruleset.Match) answer {
	any := func(port uint16, list string) answer {
		for _, s := range strings.Split(list, ",") {
			if a := within(port, s); a != no {
				return a
			}
		}
		return no
	}
	return all(m, func(o ruleset.Option) answer {
		switch o.Name {
		case "dports", "destination-ports":
			return any(e.header.destination, one(o))
		case "sports", "source-ports":
			return any(e.header.source, one(o))
		case "ports":
			return max(any(e.header.source, one(o)), any(e.header.destination, one(o)))
		}
		return unsure
	})
}

// States of connections (NF_CT_STATE bits), by iptables' names.
var states = []struct {
	name string
	bit  uint32
}{{"INVALID", 1}, {"ESTABLISHED", 2}, {"RELATED", 4}, {"NEW", 8}, {"UNTRACKED", 64}}

func (e *evaluation) conntrack(m ruleset.Match) answer {
	original := e.header
	first := *e.packet
	if e.packet.Original != nil {
		first.Frame, original = e.packet.Original, headerOf(e.packet.Original)
	}
	tracked := e.packet.State&(1|64) == 0
	return all(m, func(o ruleset.Option) answer {
		if o.Name == "ctstate" || o.Name == "state" {
			return e.state(one(o))
		}
		if !tracked {
			return when(o.Not) // whatever is asked of no connection does not hold, turned round or not
		}
		switch o.Name {
		case "ctorigdst":
			return inside(first.Destination(), one(o))
		case "ctorigsrc":
			return inside(first.Source(), one(o))
		case "ctorigdstport":
			return within(original.destination, one(o))
		case "ctorigsrcport":
			return within(original.source, one(o))
		case "ctproto":
			return when(original.has(one(o)))
		}
		return unsure // the direction, the mark ...: not part of a packet
	})
}

func (e *evaluation) state(list string) answer {
	state := cmp.Or(e.packet.State, 8)
	out := no
	for _, name := range strings.Split(list, ",") {
		found := false
		for _, s := range states {
			if s.name == name {
				found = true
				if state&s.bit != 0 {
					return yes
				}
			}
		}
		switch {
		case name == "DNAT" && e.packet.Original != nil:
			return yes
		case !found && name != "DNAT":
			out = unsure
		}
	}
	return out
}

// inside looks for an address in "10.0.0.0/8" or "10.0.0.1".
func inside(a netip.Addr, s string) answer {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		single, err := netip.ParseAddr(s)
		if err != nil {
			return unsure
		}
		p = netip.PrefixFrom(single, single.BitLen())
	}
	return when(p.Contains(a))
}

// addrTypes are the names of RTN_* numbers.
var addrTypes = map[string]uint32{
	"UNSPEC": unix.RTN_UNSPEC, "UNICAST": unix.RTN_UNICAST, "LOCAL": unix.RTN_LOCAL, "BROADCAST": unix.RTN_BROADCAST, "ANYCAST": unix.RTN_ANYCAST,
	"MULTICAST": unix.RTN_MULTICAST, "BLACKHOLE": unix.RTN_BLACKHOLE, "UNREACHABLE": unix.RTN_UNREACHABLE, "PROHIBIT": unix.RTN_PROHIBIT,
}

func (e *evaluation) addrType(m ruleset.Match) answer {
	if e.packet.Host == nil {
		return unsure
	}
	link := ""
	if _, limited := m.Option("limit-iface-in"); limited {
		link = e.packet.In.Name
	}
	if _, limited := m.Option("limit-iface-out"); limited {
		link = e.packet.Out.Name
	}
	return all(m, func(o ruleset.Option) answer {
		a := e.packet.Destination()
		switch o.Name {
		case "limit-iface-in", "limit-iface-out":
			return yes
		case "src-type":
			a = e.packet.Source()
		case "dst-type":
		default:
			return unsure
		}
		kind := e.packet.Host.AddrType(a, link)
		for _, name := range strings.Split(one(o), ",") {
			want, known := addrTypes[name]
			switch {
			case !known:
				return unsure
			case kind == want:
				return yes
			case name == "UNICAST" && a.Is6() && !a.IsMulticast() && !a.IsUnspecified(): // match_type6
				return yes
			}
		}
		return no
	})
}

// valueMask reads "0x1/0xff".
func valueMask(s string) (value, mask uint32, ok bool) {
	a, b, masked := strings.Cut(s, "/")
	v, err := strconv.ParseUint(a, 0, 32)
	if err != nil {
		return 0, 0, false
	}
	m := uint64(0xffffffff)
	if masked {
		if m, err = strconv.ParseUint(b, 0, 32); err != nil {
			return 0, 0, false
		}
	}
	return uint32(v), uint32(m), true
}

func (e *evaluation) mark(m ruleset.Match) answer {
	return all(m, func(o ruleset.Option) answer {
		value, mask, ok := valueMask(one(o))
		if !ok || o.Name != "mark" {
			return unsure
		}
		return when(e.packet.Mark&mask == value)
	})
}

func (e *evaluation) group(m ruleset.Match) answer {
	return all(m, func(o ruleset.Option) answer {
		value, mask, ok := valueMask(one(o))
		switch {
		case ok && o.Name == "src-group":
			return when(e.packet.In.Group&mask == value)
		case ok && o.Name == "dst-group":
			return when(e.packet.Out.Group&mask == value)
		}
		return unsure
	})
}

func (e *evaluation) addressRange(m ruleset.Match) answer {
	return all(m, func(o ruleset.Option) answer {
		a := e.packet.Destination()
		switch o.Name {
		case "src-range":
			a = e.packet.Source()
		case "dst-range":
		default:
			return unsure
		}
		first, last, several := strings.Cut(one(o), "-")
		if !several {
			last = first
		}
		from, errFrom := netip.ParseAddr(first)
		to, errTo := netip.ParseAddr(last)
		if errFrom != nil || errTo != nil {
			return unsure
		}
		return when(a.BitLen() == from.BitLen() && from.Compare(a) <= 0 && a.Compare(to) <= 0)
	})
}

func (e *evaluation) icmp(m ruleset.Match) answer {
	if !e.header.has("icmp") && !e.header.has("ipv6-icmp") || !e.header.hasKind {
		return no
	}
	return all(m, func(o ruleset.Option) answer {
		kind, code, coded := strings.Cut(one(o), "/")
		if kind == "any" || kind == "255" {
			return yes
		}
		n, err := strconv.ParseUint(kind, 10, 8)
		if err != nil {
			return unsure // a name
		}
		c, err := strconv.ParseUint(code, 10, 8)
		if coded && err != nil {
			return unsure
		}
		return when(byte(n) == e.header.kind && (!coded || byte(c) == e.header.code))
	})
}

// reversePath asks whether answers to the packet would go out where it came in.
func (e *evaluation) reversePath(m ruleset.Match) answer {
	for _, o := range m.Options {
		if o.Name != "invert" || e.packet.Host == nil {
			return unsure
		}
	}
	if e.packet.Host == nil {
		return unsure
	}
	_, invert := m.Option("invert")
	return when(e.packet.Host.WayBack(e.packet) == e.packet.In.Index).unless(invert)
}
