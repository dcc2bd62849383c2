package kernel

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/rule"
)

// rules makes desired.Rule so, in the host's namespace.
type rules struct{ *pass }

func handleRules(p *pass) handler {
	h := rules{p}
	return handler{name: "rules", find: p.inEach("rules", desired.KindRule, h.find), put: h.put, drop: h.drop}
}

// rulesOf returns the rules of the kernel that a row stands for.
func rulesOf(row desired.Rule) (out []rule.Rule) {
	if row.IPv4 {
		out = append(out, rule.Rule{Family: unix.AF_INET, Link: row.Link, Mark: desired.TransparentMark})
	}
	if row.IPv6 {
		out = append(out, rule.Rule{Family: unix.AF_INET6, Link: row.Link, Mark: desired.TransparentMark})
	}
	return out
}

func (h rules) find(g group) (f found, err error) {
	if g.space != desired.HostNamespace {
		return f, nil
	}
	err = h.in(g.space, func(s *space) error {
		have, err := rule.List(s.conn)
		if err != nil {
			return err
		}
		var wanted []rule.Rule
		for _, d := range g.deltas {
			wants := rulesOf(d.New.(desired.Rule))
			wanted = append(wanted, wants...)
			for _, r := range wants {
				delivers, err := rule.Delivers(s.conn, r.Family)
				if err != nil {
					return err
				}
				if !delivers || !slices.Contains(have, r) {
					f.check(d, missing)
					break
				}
			}
		}
		for _, r := range have {
			if !slices.Contains(wanted, r) {
				f.stray(desired.HostOwner, desired.Rule{Link: r.Link, IPv4: r.Family == unix.AF_INET, IPv6: r.Family == unix.AF_INET6})
			}
		}
		return nil
	})
	return f, err
}

// put also takes away what a row no longer asks for.
func (h rules) put(g group) {
	h.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Rule)
		var errs []error
		for _, r := range rulesOf(row) {
			errs = append(errs, rule.Put(s.conn, r))
		}
		if old, ok := d.Old.(desired.Rule); ok {
			old.IPv4, old.IPv6 = old.IPv4 && !row.IPv4, old.IPv6 && !row.IPv6
			errs = append(errs, deleteAll(s, old))
		}
		return about(errors.Join(errs...), "rule for %s", row.Link)
	})
}

func (h rules) drop(g group) {
	h.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Rule)
		return about(deleteAll(s, row), "rule for %s", row.Link)
	})
}

func deleteAll(s *space, row desired.Rule) error {
	var errs []error
	for _, r := range rulesOf(row) {
		errs = append(errs, rule.Delete(s.conn, r))
	}
	return errors.Join(errs...)
}
