package nft

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/field"
)

// chainCount counts packets of published ports, and drops those of internal networks.
const chainCount = "count"

// besideTable is the table of family inet where another backend decides about packets
// (Options.Beside): what iptables has no words for, or too many. It only drops, counts and
// marks, so that what it lets pass is for the other backend to judge.
//
//	early     what comes by a port itself: iptables is not asked about groups of links
//	answered  the mark for the fence, once an answer was translated back: no table of
//	          iptables comes after nat there
//	forward   the pace of new next hops, and sources whose answers would go elsewhere
//	input     what is for the host itself: published ports are elements here, where with
//	          iptables each were one more rule in one more table
//	sockets   the mark for what containers answer to those, where there are any
//	count     packets and bytes of published ports, at a cost that does not grow
func besideTable(mark string) table {
	const (
		priorityEarly    = -450
		priorityAnswered = -99 // after iptables' nat table
		priorityFilter   = 0
	)
	filter := func(hook uint32, priority int32) base { return base{"filter", hook, priority} }
	counted := jump("traffic of published ports", chainCount, translated())
	out := inetTable(mark, shape{})
	out.sets = slices.DeleteFunc(out.sets, func(s set) bool { return !slices.Contains(besideSets(), s.name) })
	out.chains = []chain{
		{chainCount, base{}, countRules()},
		{chainStrange, base{}, strangeRules()},
		{chainShut, base{}, shutRules()},
		{chainHops4, base{}, hopRules(setHops4, hop4Part())},
		{chainHops6, base{}, hopRules(setHops6, hop6Part())},
		{"early", filter(unix.NF_INET_PRE_ROUTING, priorityEarly), []rule{byThePortItself()}},
		{"answered", filter(unix.NF_INET_PRE_ROUTING, priorityAnswered), []rule{tellFence()}},
		{"input", filter(unix.NF_INET_LOCAL_IN, priorityFilter), append([]rule{strange(), counted}, hostRules()...)},
		{"sent", filter(unix.NF_INET_LOCAL_OUT, priorityFilter), []rule{counted}},
		{"forward", filter(unix.NF_INET_FORWARD, priorityFilter), append(newHops(), counted,
			jump("out of a network", chainStrange, in(setBridges, field.IIFName), notIn(setBridges, field.OIFName), notAnswering()))},
	}
	return out
}

func besideSets() []string {
	return []string{
		setBridges, setInternal, setMasq4, setMasq6, setHome4, setHome6, setAbroad4, setAbroad6, setHops4, setHops6, setHopPace,
		setTransparent, setOpen4, setOpen6, setOpen4Range, setOpen6Range, setOpenAny, setOpenRange,
	}
}

// countRules have no verdict but for internal networks: to be found is to be counted.
func countRules() []rule {
	count := func(m match) rule { return rule{comment: "counted by port", exprs: m} }
	isFour, isSix := is(field.Family, unix.NFPROTO_IPV4), is(field.Family, unix.NFPROTO_IPV6)
	return []rule{
		drop("out of an internal network", in(setInternal, field.IIFName)),
		drop("into an internal network", in(setInternal, field.OIFName)),
		count(inJoined(setOpenAny, familyPart(), transportPart(), origPortPart())),
		count(inJoined(setOpenRange, familyPart(), transportPart(), origPortPart())),
		count(slices.Concat(isFour, inJoined(setOpen4, transportPart(), orig4Part(), origPortPart()))),
		count(slices.Concat(isSix, inJoined(setOpen6, transportPart(), orig6Part(), origPortPart()))),
		count(slices.Concat(isFour, inJoined(setOpen4Range, transportPart(), orig4Part(), origPortPart()))),
		count(slices.Concat(isSix, inJoined(setOpen6Range, transportPart(), orig6Part(), origPortPart()))),
	}
}
