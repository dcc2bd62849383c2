package nft

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/field"
)

const (
	setAbroad4   = "abroad4"
	setAbroad6   = "abroad6"
	chainStrange = "strange"
)

func abroadSets() []set {
	return []set{
		{name: setAbroad4, comment: "addresses that containers use on other networks of theirs as well", key: []datatype{typeIPv4}},
		{name: setAbroad6, comment: "addresses that containers use on other networks of theirs as well", key: []datatype{typeIPv6}},
	}
}

// abroadOf are the elements of addresses that a container has elsewhere: several of
// its ports may use the same.
func abroadOf(r desired.Elsewhere) (out []element) {
	for _, a := range r.Addrs {
		a = a.Unmap()
		out = append(out, element{set: pick(a, setAbroad4, setAbroad6), key: addrKey(a)})
	}
	return out
}

// strangeRules are for new connections that come from a network by way of the
// host. A container with NET_ADMIN may route for others, so that what it passes on
// has other sources than its own; but whose answers would not come back by this
// bridge is forged, and goes neither out nor to the host (RFC 3704). Addresses of
// networks that are translated are known without a route: a container on two of them
// may route from one to the other. So are those that a container has elsewhere.
func strangeRules() []rule {
	const forged = "a source whose answers would go elsewhere"
	astray := compare(wayBack, expr.CmpOpEq, make([]byte, 4))
	linkLocal, mask := linkLocal6(), linkLocal6Mask()
	return []rule{
		drop(forged, is(field.Family, unix.NFPROTO_IPV4), isNot(field.IP4Source, 0, 0, 0, 0),
			notInJoined(setHome4, iifPart(), from4Part()), notIn(setAbroad4, field.IP4Source), notIn(setMasq4, field.IP4Source), astray),
		drop(forged, is(field.Family, unix.NFPROTO_IPV6), notUnder(field.IP6Source, linkLocal, mask), isNot(field.IP6Source, make([]byte, 16)...),
			notInJoined(setHome6, iifPart(), from6Part()), notIn(setAbroad6, field.IP6Source), notIn(setMasq6, field.IP6Source), astray),
	}
}

// wayBack is the index of the interface that a packet came in by, if answers to it
// go out there; else 0.
func wayBack(reg uint32) expr.Any {
	return &expr.Fib{Register: reg, FlagSADDR: true, FlagIIF: true, ResultOIF: true}
}

// strange is the rule that asks, of what comes from a network and is no answer.
func strange() rule {
	return jump("from a network", chainStrange, in(setBridges, field.IIFName), notAnswering())
}
