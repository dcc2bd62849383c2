package ops

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/model"
)

// checkPools checks the subnets a user gave against one another's rules, with
// all complaints in one error, as Docker words them.
func checkPools(n model.Network) error {
	var complaints []error
	for _, p := range n.IPAM.Pools {
		if p.Subnet.Addr().Is6() && !n.IPv6 {
			continue // will not be used
		}
		complaints = append(complaints, checkPool(p)...)
	}
	if len(complaints) == 0 {
		return nil
	}
	return &model.Error{Op: "network.create", Subject: "network " + n.Name, Kind: model.Invalid,
		Err: fmt.Errorf("invalid network config:\n%w", errors.Join(complaints...))}
}

func checkPool(p model.Pool) []error {
	var out []error
	if !p.Subnet.IsValid() {
		return []error{errors.New("invalid subnet: it is missing")}
	}
	if masked := p.Subnet.Masked(); masked != p.Subnet {
		out = append(out, fmt.Errorf("invalid subnet %s: it should be %s", p.Subnet, masked))
	}
	for _, taken := range special {
		if p.Subnet.Overlaps(taken) && !p.Subnet.Addr().IsUnspecified() {
			out = append(out, fmt.Errorf("invalid subnet %s: no host can have an address of %s", p.Subnet, taken))
		}
	}
	if p.Range.IsValid() {
		out = append(out, checkRange(p)...)
	}
	if p.Gateway.IsValid() && !p.Subnet.Contains(p.Gateway) {
		out = append(out, fmt.Errorf("invalid gateway %s: parent subnet %s doesn't contain this address", p.Gateway, p.Subnet))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Aux)) {
		if !p.Subnet.Contains(p.Aux[name]) {
			out = append(out, fmt.Errorf("invalid auxiliary address %s: parent subnet %s doesn't contain this address", name, p.Subnet))
		}
	}
	return out
}

// special are blocks whose addresses mean the host itself or many at once
// (RFC 6890, RFC 5771, RFC 4291): a bridge with one of them would only break the
// host.
var special = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("ff00::/8"),
}

func checkRange(p model.Pool) []error {
	if p.Range.Addr().Is4() != p.Subnet.Addr().Is4() {
		return []error{fmt.Errorf("invalid ip-range %s: parent subnet is an IPv%d block", p.Range, model.FamilyOf(p.Subnet.Addr()))}
	}
	var out []error
	if masked := p.Range.Masked(); masked != p.Range {
		out = append(out, fmt.Errorf("invalid ip-range %s: it should be %s", p.Range, masked))
	}
	if p.Range.Bits() < p.Subnet.Bits() {
		out = append(out, fmt.Errorf("invalid ip-range %s: CIDR block is bigger than its parent subnet %s", p.Range, p.Subnet))
	} else if !p.Subnet.Contains(p.Range.Addr()) {
		out = append(out, fmt.Errorf("invalid ip-range %s: parent subnet %s doesn't contain ip-range", p.Range, p.Subnet))
	}
	return out
}
