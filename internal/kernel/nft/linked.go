package nft

import (
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/field"
	"github.com/linkspan/linkspan/internal/model"
)

// What links open between containers of a network that keeps them apart, by both
// addresses, protocol and port. The elements are the same in both tables: frames
// between the ports of a bridge are judged in the bridge table, one by one and
// in both directions, and where br_netfilter is on, in the other table as well.
const (
	setLinked4 = "linked4"
	setLinked6 = "linked6"
	setLink4   = "link4"
	setLink6   = "link6"
)

// linkSets are the sets of links, under the names that a table has for them.
func linkSets(four, six string) []set {
	const what = "links between containers that are kept apart"
	return []set{
		{name: four, comment: what, key: []datatype{typeIPv4, typeIPv4, typeTransport, typePort}, interval: true},
		{name: six, comment: what, key: []datatype{typeIPv6, typeIPv6, typeTransport, typePort}, interval: true},
	}
}

func from4Part() part      { return part{field.IP4Source, 1} }
func from6Part() part      { return part{field.IP6Source, 4} }
func sourcePortPart() part { return part{field.SourcePort, 1} }

// linkedFrames are rules for frames: without connections to remember, answers are
// what comes from the port that a link opens. If they are pinned, both are for who has
// the address, and not for a port that may use another's.
func linkedFrames(pinned bool) []rule {
	const there, back = "a link to an exposed port", "answers by a link"
	isIPv4, isIPv6 := isIPv4, isIPv6
	if pinned {
		four, six := isIPv4, isIPv6
		isIPv4 = func() match { return append(four(), in(setPinIP4, field.IIFName, field.IP4Source)...) }
		isIPv6 = func() match { return append(six(), in(setPinIP6, field.IIFName, field.IP6Source)...) }
	}
	return []rule{
		accept(there, isIPv4(), inJoined(setLinked4, from4Part(), ip4Part(), transportPart(), portPart())),
		accept(back, isIPv4(), inJoined(setLinked4, ip4Part(), from4Part(), transportPart(), sourcePortPart())),
		accept(there, isIPv6(), inJoined(setLinked6, from6Part(), ip6Part(), transportPart(), portPart())),
		accept(back, isIPv6(), inJoined(setLinked6, ip6Part(), from6Part(), transportPart(), sourcePortPart())),
	}
}

// linkedPackets are rules for what br_netfilter shows of the same.
func linkedPackets() []rule {
	const what = "a link to an exposed port (frames that br_netfilter shows to this chain)"
	inside := in(setSame, field.IIFName, field.OIFName)
	return []rule{
		accept(what, inside, is(field.Family, unix.NFPROTO_IPV4), inJoined(setLink4, from4Part(), ip4Part(), transportPart(), portPart())),
		accept(what, inside, is(field.Family, unix.NFPROTO_IPV6), inJoined(setLink6, from6Part(), ip6Part(), transportPart(), portPart())),
	}
}

func renderAllow(r desired.Allow) ([]element, error) {
	number := r.Protocol.Number()
	from, to := r.From.Unmap(), r.To.Unmap()
	switch {
	case number == 0 || r.First == 0 || r.Last < r.First:
		return nil, model.Errorf(model.Invalid, "link: %s ports %d to %d", r.Protocol, r.First, r.Last)
	case !from.IsValid() || from.BitLen() != to.BitLen() || from.IsUnspecified() || to.IsUnspecified():
		return nil, model.Errorf(model.Invalid, "link: from %v to %v", r.From, r.To)
	}
	head := addrKey(from) + addrKey(to) + word(number)
	e := element{key: head + portWord(r.First), last: head + portWord(r.Last)}
	out := []element{e, e}
	out[0].set, out[1].set = pick(to, setLinked4, setLinked6), pick(to, setLink4, setLink6)
	return out, nil
}
