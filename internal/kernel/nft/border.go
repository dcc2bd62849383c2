package nft

import (
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/field"
)

// The border: every way that a frame or packet of a container has to the host's
// stack, to another network or to the wire, and what closes it. A way is closed by
// rules, and where these could be gone (nft flush ruleset), by something else as
// well. TestBorder walks all of them with frames of every kind.
//
//	way of a frame that a container sends            rule                           without rules
//	-----------------------------------------------  -----------------------------  ---------------------------
//	to its network: bridge, hook prerouting          bridge: chain port             (open: the network is its)
//	to a neighbour: bridge, hook forward             bridge: forward, icc           (open: the network is its)
//	to the port's own stack, by a reserved group     bridge: prerouting, input;     group_fwd_mask of the port:
//	  address (01:80:c2:00:00:0X; LLDP, 802.1X,        inet: early                    there is no such way; IPv6
//	  LACP, and ARP, IPv4, IPv6 sent to them)                                         is off on the host's end
//	to the bridge's stack: hook input, then IP       bridge: chain port             (open: the gateway is there)
//	  ... to the host's 127.0.0.0/8                  inet: early                    fence of the bridge
//	  ... to a port that is published, from an       inet: input
//	      internal network, translated or not        inet: published
//	  ... to other addresses of the host, from an    inet: input                    fence of the bridge
//	      internal network
//	  ... of no connection, to a published port      inet: input                    (the host answers RST)
//	through the host to another network              inet: forward                  (open until rules are back)
//	  ... from or to an internal one                 inet: forward, published       fence of the bridge
//	through the host to the wire                     inet: forward, postrouting     (open: masquerade is gone)
//	  ... of no connection: not to be masqueraded    inet: forward
//	  ... from an internal network                   inet: forward, published       fence of the bridge
//
// A fence is a desired.Fence: classifiers at the bridge itself, which no nft command
// removes. Beyond the border, as on any host: who captures packets on the host's end
// of a cable (packet(7), ETH_P_ALL) sees them before any hook does.

// reservedGroup matches frames of our ports to the group addresses that a bridge does
// not forward and that protocols of the host's own may listen on (IEEE 802.1Q, table
// 8-1). In the hook prerouting they come by as others do, since our ports are told to
// pass them on; in the hook input they would be on their way into the port's stack.
func reservedGroup() rule {
	group, mask := []byte{0x01, 0x80, 0xc2, 0, 0, 0}, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xf0}
	return drop("to a reserved group address: LLDP, 802.1X, LACP ...", fromOurs(), under(field.EtherDestination, group, mask))
}

// byThePortItself matches packets that did not come by a bridge: the host's end of a
// container's cable has no address, and nobody there is asked for anything.
func byThePortItself() rule {
	return drop("to the host's end of a container's cable, past its bridge", fromOurs())
}

// hostRules are for what the host's own stack is about to take, once the packets of
// published ports are let in. A published port is the container's: an internal
// network does not get at it by way of the user-space forwarder that listens there
// (desired.Served) either, and a segment of no connection is not the host's to answer.
// Of the host, an internal network has only what is on its own bridge, as with Docker.
func hostRules() []rule {
	return append(vouchedRules(), []rule{
		jump("of no connection, from outside", chainShut, isNot(field.IIFName, ifname("lo")...), stray()),
		jump("from an internal network", chainShut, in(setInternal, field.IIFName)),
		drop("from an internal network to an address elsewhere on this host", in(setInternal, field.IIFName),
			is(field.DestinationHere, native32(unix.RTN_UNICAST)...)),
	}...)
}

// vouchedRules are for published ports that a transparent socket serves: it would speak
// to the container under a source address that somebody outside has made up.
func vouchedRules() []rule {
	const what = "a container's source address from outside"
	elsewhere := append(isNot(field.IIFName, ifname("lo")...), notIn(setBridges, field.IIFName)...)
	return []rule{
		jump(what, chainShut, elsewhere, is(field.Family, unix.NFPROTO_IPV4), in(setMasq4, field.IP4Source)),
		jump(what, chainShut, elsewhere, is(field.Family, unix.NFPROTO_IPV6), in(setMasq6, field.IP6Source)),
	}
}

// shutRules drop what is addressed to a published port. The destination is the one in
// the packet: it was not translated.
func shutRules() []rule {
	const what = "to a published port"
	return []rule{
		drop(what, inJoined(setOpenAny, familyPart(), transportPart(), portPart())),
		drop(what, inJoined(setOpenRange, familyPart(), transportPart(), portPart())),
		drop(what, is(field.Family, unix.NFPROTO_IPV4), inJoined(setOpen4, transportPart(), ip4Part(), portPart())),
		drop(what, is(field.Family, unix.NFPROTO_IPV6), inJoined(setOpen6, transportPart(), ip6Part(), portPart())),
		drop(what, is(field.Family, unix.NFPROTO_IPV4), inJoined(setOpen4Range, transportPart(), ip4Part(), portPart())),
		drop(what, is(field.Family, unix.NFPROTO_IPV6), inJoined(setOpen6Range, transportPart(), ip6Part(), portPart())),
	}
}
