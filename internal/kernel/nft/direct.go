package nft

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/field"
	"github.com/linkspan/linkspan/internal/model"
)

// What may come to a container's own address without any translation: all of it,
// its ICMP, some of its ports from everywhere (those stand in the sets of open
// ports), or some of its ports by one interface.
const (
	setDirect4       = "direct4"
	setDirect6       = "direct6"
	setICMP4         = "icmp4"
	setICMP6         = "icmp6"
	setTrusted4      = "trusted4"
	setTrusted6      = "trusted6"
	setTrusted4Range = "trusted4_ranges"
	setTrusted6Range = "trusted6_ranges"
)

func directSets() []set {
	const whole, icmp, trusted = "containers reachable at their own address", "containers whose own address answers ICMP", "ports reachable directly by one interface"
	key4 := []datatype{typeIfname, typeTransport, typeIPv4, typePort}
	key6 := []datatype{typeIfname, typeTransport, typeIPv6, typePort}
	return []set{
		{name: setDirect4, comment: whole, key: []datatype{typeIPv4}},
		{name: setDirect6, comment: whole, key: []datatype{typeIPv6}},
		{name: setICMP4, comment: icmp, key: []datatype{typeIPv4}},
		{name: setICMP6, comment: icmp, key: []datatype{typeIPv6}},
		{name: setTrusted4, comment: trusted, key: key4},
		{name: setTrusted6, comment: trusted, key: key6},
		{name: setTrusted4Range, comment: trusted, key: key4, interval: true},
		{name: setTrusted6Range, comment: trusted, key: key6, interval: true},
	}
}

// directRules are for new connections to a container's own address.
func directRules() []rule {
	const (
		whole, icmp = "to a container that is open to direct routing", "ICMP to a container that is routed to"
		trusted     = "to a port that is open to this interface"
	)
	isFour, isSix := is(field.Family, unix.NFPROTO_IPV4), is(field.Family, unix.NFPROTO_IPV6)
	part4 := []part{iifPart(), transportPart(), ip4Part(), portPart()}
	part6 := []part{iifPart(), transportPart(), ip6Part(), portPart()}
	return []rule{
		accept(whole, isFour, in(setDirect4, field.IP4Destination)),
		accept(whole, isSix, in(setDirect6, field.IP6Destination)),
		accept(icmp, isFour, is(field.Protocol, unix.IPPROTO_ICMP), in(setICMP4, field.IP4Destination)),
		accept(icmp, isSix, is(field.Protocol, unix.IPPROTO_ICMPV6), in(setICMP6, field.IP6Destination)),
		accept(trusted, isFour, inJoined(setTrusted4, part4...)),
		accept(trusted, isSix, inJoined(setTrusted6, part6...)),
		accept(trusted, isFour, inJoined(setTrusted4Range, part4...)),
		accept(trusted, isSix, inJoined(setTrusted6Range, part6...)),
		jump("single ports", chainOpen),
	}
}

func renderDirect(r desired.Direct) ([]element, error) {
	addr := r.Addr.Unmap()
	if !addr.IsValid() || addr.IsUnspecified() {
		return nil, model.Errorf(model.Invalid, "direct routing: to %v", r.Addr)
	}
	if r.First == 0 {
		return []element{{set: pick(addr, setDirect4, setDirect6), key: addrKey(addr)}}, nil
	}
	number := r.Protocol.Number()
	if number == 0 || r.Last < r.First {
		return nil, model.Errorf(model.Invalid, "direct routing: %s ports %d to %d", r.Protocol, r.First, r.Last)
	}
	return []element{openAt(number, addr, r.First, r.Last)}, nil
}

func renderDirectICMP(r desired.DirectICMP) ([]element, error) {
	addr := r.Addr.Unmap()
	if !addr.IsValid() || addr.IsUnspecified() {
		return nil, model.Errorf(model.Invalid, "direct routing of ICMP: to %v", r.Addr)
	}
	return []element{{set: pick(addr, setICMP4, setICMP6), key: addrKey(addr)}}, nil
}

// renderDirectFrom puts the interface before what opens the ports to everybody.
func renderDirectFrom(r desired.DirectFrom) ([]element, error) {
	name, err := nameKey(r.Interface)
	if err != nil {
		return nil, err
	}
	if r.Direct.First == 0 {
		return nil, model.Errorf(model.Invalid, "direct routing by %s: no ports", r.Interface)
	}
	open, err := renderDirect(r.Direct)
	if err != nil {
		return nil, err
	}
	sets := map[string]string{setOpen4: setTrusted4, setOpen6: setTrusted6, setOpen4Range: setTrusted4Range, setOpen6Range: setTrusted6Range}
	out := slices.Clone(open)
	for i, e := range open {
		out[i].set, out[i].key = sets[e.set], name+e.key
		if e.last != "" {
			out[i].last = name + e.last
		}
	}
	return out, nil
}
