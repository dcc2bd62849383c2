// Package ipam decides which subnet a network gets and which address an
// endpoint gets: arithmetic over what is taken.
//
// It is pure: what is taken is an argument, and nothing is remembered here.
package ipam

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
)

// Base is a block from which subnets are cut, and their prefix length.
type Base struct {
	Prefix netip.Prefix
	Bits   int
}

// DefaultBases returns Docker's pools: fifteen /16 of 172.17.0.0 to 172.31.0.0
// and sixteen /20 of 192.168.0.0/16.
func DefaultBases() []Base {
	var out []Base
	for _, p := range []string{"172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/14", "172.24.0.0/14", "172.28.0.0/14"} {
		out = append(out, Base{netip.MustParsePrefix(p), 16})
	}
	return append(out, Base{netip.MustParsePrefix("192.168.0.0/16"), 20})
}

// Subnet returns the lowest free subnet that the bases of family f offer. With
// bits of 0 its length is the base's own choice; otherwise it is bits, and
// bases too small for it are passed over. It fails if none is free.
func Subnet(f model.Family, bases []Base, bits int, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, base := range bases {
		if model.FamilyOf(base.Prefix.Addr()) != f {
			continue
		}
		size := base.Bits
		if bits != 0 {
			size = bits
		}
		if size < base.Prefix.Bits() || size > base.Prefix.Addr().BitLen() {
			continue
		}
		if p, ok := lowestFree(base.Prefix.Masked(), size, taken); ok {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// lowestFree walks base in steps of one subnet, jumping behind whatever is in
// the way, so that its cost depends on what is taken and not on base's size.
func lowestFree(base netip.Prefix, bits int, taken []netip.Prefix) (netip.Prefix, bool) {
	for at := base.Addr(); at.IsValid() && base.Contains(at); {
		candidate := netip.PrefixFrom(at, bits)
		blocker, blocked := overlapping(candidate, taken)
		if !blocked {
			return candidate, true
		}
		if blocker.Bits() > bits {
			blocker = candidate
		}
		at = last(blocker).Next()
	}
	return netip.Prefix{}, false
}

func overlapping(p netip.Prefix, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, t := range taken {
		if p.Overlaps(t) {
			return t.Masked(), true
		}
	}
	return netip.Prefix{}, false
}

// Request asks for one address.
type Request struct {
	Subnet netip.Prefix
	Range  netip.Prefix // zero: all of Subnet
	Cursor netip.Addr   // the address given out last; invalid: none yet
	Taken  func(netip.Addr) bool
}

// Address returns the next free address after the cursor, wrapping round at the
// end of the range, so that an address that was given back is not given out
// again at once. It fails if none is free.
func Address(r Request) (netip.Addr, bool) {
	within := r.Range
	if !within.IsValid() {
		within = r.Subnet
	}
	first, end := within.Masked().Addr(), last(within)
	at := first
	if r.Cursor.IsValid() && within.Contains(r.Cursor) && r.Cursor != end {
		at = r.Cursor.Next()
	}
	start := at
	for {
		if !Reserved(r.Subnet, at) && !r.Taken(at) {
			return at, true
		}
		if at == end {
			at = first
		} else {
			at = at.Next()
		}
		if at == start {
			return netip.Addr{}, false
		}
	}
}

// Reserved tells whether a is an address of subnet that no host can have: the
// network's and the broadcast address in IPv4 (except in a /31, RFC 3021, and a
// /32), the subnet-router anycast address in IPv6 (RFC 4291 section 2.6.1).
func Reserved(subnet netip.Prefix, a netip.Addr) bool {
	if subnet.Addr().BitLen()-subnet.Bits() < 2 {
		return false
	}
	return a == subnet.Masked().Addr() || subnet.Addr().Is4() && a == last(subnet)
}

// last returns the highest address of p.
func last(p netip.Prefix) netip.Addr {
	raw := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 1 << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}
