package ops

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/linkspan/linkspan/internal/model"
)

// checkPools checks the subnets a user gave against one another's rules, with
// all complaints in one error, as Docker words them.
func checkPools(n model.Network) error {
	var complaints []error
	for _, p := range n.IPAM.Pools {
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
