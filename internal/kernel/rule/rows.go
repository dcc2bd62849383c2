package rule

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

// Of returns the rules that a row of kind desired.KindRule stands for.
func Of(row desired.Row) (out []Rule) {
	switch row := row.(type) {
	case desired.Rule:
		if row.IPv4 {
			out = append(out, Rule{Family: unix.AF_INET, Link: row.Link, Mark: desired.TransparentMark, Table: Table})
		}
		if row.IPv6 {
			out = append(out, Rule{Family: unix.AF_INET6, Link: row.Link, Mark: desired.TransparentMark, Table: Table})
		}
	case desired.Lookup:
		r := Rule{Family: unix.AF_INET, Mark: row.Mark, From: row.From, Protocol: row.Protocol.Number(), Port: row.Port, Table: row.Table}
		if row.Family == model.IPv6 {
			r.Family = unix.AF_INET6
		}
		out = append(out, r)
	}
	return out
}

// PutAll adds the rules of a delta's new row, and removes those that only its old row had.
func PutAll(c *rtnl.Conn, d desired.Delta) error {
	wants := Of(d.New)
	var errs []error
	for _, r := range wants {
		errs = append(errs, Put(c, r))
	}
	for _, r := range Of(d.Old) {
		if !slices.Contains(wants, r) {
			errs = append(errs, Delete(c, r))
		}
	}
	return errors.Join(errs...)
}

// DeleteAll removes the rules of a row.
func DeleteAll(c *rtnl.Conn, row desired.Row) error {
	var errs []error
	for _, r := range Of(row) {
		errs = append(errs, Delete(c, r))
	}
	return errors.Join(errs...)
}

// Compare returns those deltas whose rows the kernel does not have, and the rules of ours
// that none of them wants.
func Compare(c *rtnl.Conn, deltas []desired.Delta) (lacking []desired.Delta, strays []Rule, err error) {
	have, err := List(c)
	if err != nil {
		return nil, nil, err
	}
	var wanted []Rule
	for _, d := range deltas {
		wants := Of(d.New)
		wanted = append(wanted, wants...)
		for _, r := range wants {
			delivers, err := Delivers(c, r)
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
			strays = append(strays, r)
		}
	}
	return lacking, strays, nil
}

// Row returns the row of a namespace that stands for a rule.
func (r Rule) Row(namespace string) desired.Row {
	if r.Link != "" {
		return desired.Rule{Link: r.Link, IPv4: r.Family == unix.AF_INET, IPv6: r.Family == unix.AF_INET6}
	}
	row := desired.Lookup{Namespace: namespace, Family: model.IPv4, Mark: r.Mark, From: r.From, Port: r.Port, Table: r.Table}
	if r.Family == unix.AF_INET6 {
		row.Family = model.IPv6
	}
	for _, p := range []model.Protocol{model.TCP, model.UDP, model.SCTP} {
		if p.Number() == r.Protocol {
			row.Protocol = p
		}
	}
	return row
}
