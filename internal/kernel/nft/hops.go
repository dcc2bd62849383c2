package nft

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/field"
)

// Who sends to many addresses on one link by way of the host has the host look for
// each of them, and fills its table of neighbours with those that are not (RFC 6583).
// New next hops of who sends have a pace, therefore, each its own; those that are
// containers or were asked for a short while ago are not new.
const (
	setHops4   = "hops4"
	setHops6   = "hops6"
	setHopPace = "hop_pace"
	chainHops4 = "hops4"
	chainHops6 = "hops6"

	hopsASecond, hopsAtOnce = 32, 128 // of one MAC address
)

func hopSets() []set {
	const what = "next hops that networks asked for, by interface"
	return []set{
		{name: setHops4, comment: what, key: []datatype{typeIfname, typeIPv4}, learned: true, timeout: true},
		{name: setHops6, comment: what, key: []datatype{typeIfname, typeIPv6}, learned: true, timeout: true},
		{name: setHopPace, comment: "new next hops, by who sends", key: []datatype{typeEther}, learned: true, timeout: true},
	}
}

func oifPart() part  { return part{field.OIFName, 4} }
func hop4Part() part { return part{nextHop(expr.RtNexthop4), 1} }
func hop6Part() part { return part{nextHop(expr.RtNexthop6), 4} }

// nextHop is who a packet is handed to: its destination, or the router on the way.
func nextHop(key expr.RtKey) field.Load {
	return func(reg uint32) expr.Any { return &expr.Rt{Register: reg, Key: key} }
}

// newHops are rules for new connections from a network.
func newHops() []rule {
	const what = "by way of a next hop that is new"
	from := append(in(setBridges, field.IIFName), notAnswering()...)
	return []rule{
		jump(what, chainHops4, from, is(field.Family, unix.NFPROTO_IPV4), notUnder(field.IP4Destination, []byte{224, 0, 0, 0}, []byte{0xe0, 0, 0, 0}),
			notInJoined(setHome4, oifPart(), hop4Part()), notInJoined(setHops4, oifPart(), hop4Part())),
		jump(what, chainHops6, from, is(field.Family, unix.NFPROTO_IPV6), notUnder(field.IP6Destination, []byte{0xff, 15: 0}, []byte{0xff, 15: 0}),
			notInJoined(setHome6, oifPart(), hop6Part()), notInJoined(setHops6, oifPart(), hop6Part())),
	}
}

func hopRules(hops string, hop part) []rule {
	const etherWords = 2
	ms := uint64(heardFor.Milliseconds())
	return []rule{
		drop("next hops faster than the host can look for them", learned(setHopPace, ms, []part{{field.EtherSource, etherWords}}, &expr.Limit{
			Type: expr.LimitTypePkts, Rate: hopsASecond, Unit: expr.LimitTimeSecond, Burst: hopsAtOnce, Over: true,
		})),
		learn("a next hop", hops, ms, []part{oifPart(), hop}),
	}
}
