package nft

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const chainStrange = "strange"

// strangeRules are for new connections that come from a network by way of the
// host. A container with NET_ADMIN may route for others, so that what it passes on
// has other sources than its own; but whose answers would not come back by this
// bridge is forged, and goes neither out nor to the host (RFC 3704). Addresses of
// networks that are translated are known without a route: a container on two of
// them may route from one to the other.
func strangeRules() []rule {
	const forged = "a source whose answers would go elsewhere"
	astray := compare(wayBack, expr.CmpOpEq, make([]byte, 4))
	linkLocal, mask := linkLocal6(), linkLocal6Mask()
	return []rule{
		drop(forged, is(family, unix.NFPROTO_IPV4), isNot(ip4Source, 0, 0, 0, 0),
			notInJoined(setHome4, iifPart(), from4Part()), notIn(setMasq4, ip4Source), astray),
		drop(forged, is(family, unix.NFPROTO_IPV6), notUnder(ip6Source, linkLocal, mask), isNot(ip6Source, make([]byte, 16)...),
			notInJoined(setHome6, iifPart(), from6Part()), notIn(setMasq6, ip6Source), astray),
	}
}

// wayBack is the index of the interface that a packet came in by, if answers to it
// go out there; else 0.
func wayBack(reg uint32) expr.Any {
	return &expr.Fib{Register: reg, FlagSADDR: true, FlagIIF: true, ResultOIF: true}
}

// strange is the rule that asks, of what comes from a network and is no answer.
func strange() rule {
	return jump("from a network", chainStrange, in(setBridges, iifName), notAnswering())
}
