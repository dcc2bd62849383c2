package rule

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// Of returns the rules that a row stands for.
func Of(row desired.Rule) (out []Rule) {
	if row.IPv4 {
		out = append(out, Rule{Family: unix.AF_INET, Link: row.Link, Mark: desired.TransparentMark})
	}
	if row.IPv6 {
		out = append(out, Rule{Family: unix.AF_INET6, Link: row.Link, Mark: desired.TransparentMark})
	}
	return out
}

// PutAll adds the rules of a row.
func PutAll(c *rtnl.Conn, row desired.Rule) error {
	var errs []error
	for _, r := range Of(row) {
		errs = append(errs, Put(c, r))
	}
	return errors.Join(errs...)
}

// DeleteAll removes the rules of a row.
func DeleteAll(c *rtnl.Conn, row desired.Rule) error {
	var errs []error
	for _, r := range Of(row) {
		errs = append(errs, Delete(c, r))
	}
	return errors.Join(errs...)
}

// Compare returns those deltas whose rows the kernel does not have, and rows of the rules of
// ours that none of them wants.
func Compare(c *rtnl.Conn, deltas []desired.Delta) (lacking []desired.Delta, strays []desired.Rule, err error) {
	have, err := List(c)
	if err != nil {
		return nil, nil, err
	}
	var wanted []Rule
	for _, d := range deltas {
		wants := Of(d.New.(desired.Rule))
		wanted = append(wanted, wants...)
		for _, r := range wants {
			delivers, err := Delivers(c, r.Family)
			if err != nil {
				return nil, nil, err
			}
			if !delivers || !slices.Contains(have, r) {
				lacking = append(lacking, d)
				break
			}
		}
	}
	for _, r := range have {
		if !slices.Contains(wanted, r) {
			strays = append(strays, desired.Rule{Link: r.Link, IPv4: r.Family == unix.AF_INET, IPv6: r.Family == unix.AF_INET6})
		}
	}
	return lacking, strays, nil
}
