package ports

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/model"
)

// fallback is where host ports are taken from if the kernel does not say: the
// dynamic ports of RFC 6335 section 6.
var fallback = model.PortRange{First: 49153, Last: 65535}

// Ephemeral returns where free ports are taken from, given the kernel's own
// range (zero if it is not known).
func Ephemeral(local model.PortRange) model.PortRange {
	if local.IsZero() || local.First == 0 || local.Last < local.First {
		return fallback
	}
	return local
}

// Taken are host ports that cannot be had.
type Taken struct {
	Addr  netip.Addr
	Ports model.PortRange
}

// Table yields what is taken within a range, in any order; more than asked does
// no harm.
type Table func(model.PortRange) iter.Seq[Taken]

// Overlap tells whether two addresses to listen on collide on one port. The
// families do not: sockets on :: leave IPv4 alone (IPV6_V6ONLY, ipv6(7)).
func Overlap(a, b netip.Addr) bool {
	return a == b || a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

// Wish is host ports to look for.
type Wish struct {
	Addrs  []netip.Addr    // they must be free on each of these
	Length int             // how many in a row; at least 1
	From   model.PortRange // all of them within
	Start  uint16          // where the search begins, if within From; it goes on at From's beginning
}

// Find returns the first of the ports found.
func Find(w Wish, taken Table) (first uint16, ok bool) {
	start := int(w.Start)
	if start < int(w.From.First) || start+w.Length-1 > int(w.From.Last) {
		start = int(w.From.First)
	}
	if first, ok := w.search(start, int(w.From.Last), taken); ok {
		return first, true
	}
	// Around the corner: up to what ends just before the first attempt's end.
	return w.search(int(w.From.First), min(start+w.Length-2, int(w.From.Last)), taken)
}

// window is how many ports are looked at in one go.
const window = 256

// search looks for w.Length free ports between low and high.
func (w Wish) search(low, high int, taken Table) (uint16, bool) {
	for at := low; at+w.Length-1 <= high; {
		end := min(at+max(w.Length, window)-1, high)
		for _, t := range w.within(at, end, taken) {
			if int(t.First)-at >= w.Length {
				break
			}
			at = max(at, int(t.Last)+1)
		}
		if at+w.Length-1 <= end {
			return uint16(at), true
		}
		// What is left of the window is free, and is looked at again with the next.
	}
	return 0, false
}

// within returns what is taken on w's addresses between low and high, in order.
func (w Wish) within(low, high int, taken Table) []model.PortRange {
	r := model.PortRange{First: uint16(low), Last: uint16(high)}
	var out []model.PortRange
	for t := range taken(r) {
		if t.Ports.Overlaps(r) && slices.ContainsFunc(w.Addrs, func(a netip.Addr) bool { return Overlap(a, t.Addr) }) {
			out = append(out, t.Ports)
		}
	}
	slices.SortFunc(out, func(a, b model.PortRange) int { return cmp.Compare(a.First, b.First) })
	return out
}
