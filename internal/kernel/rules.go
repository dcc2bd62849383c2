package kernel

import (
	"errors"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/rule"
)

// rules makes desired.Rule so, in the host's namespace.
type rules struct{ *pass }

func handleRules(p *pass) handler {
	h := rules{p}
	return handler{name: "rules", find: p.inEach("rules", desired.KindRule, h.find), put: h.put, drop: h.drop}
}

func (h rules) find(g group) (f found, err error) {
	if g.space != desired.HostNamespace {
		return f, nil
	}
	err = h.in(g.space, func(s *space) error {
		lacking, strays, err := rule.Compare(s.conn, g.deltas)
		for _, d := range lacking {
			f.check(d, missing)
		}
		for _, row := range strays {
			f.stray(desired.HostOwner, row)
		}
		return err
	})
	return f, err
}

// put also takes away what a row no longer asks for.
func (h rules) put(g group) {
	h.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Rule)
		err := rule.PutAll(s.conn, row)
		if old, ok := d.Old.(desired.Rule); ok {
			old.IPv4, old.IPv6 = old.IPv4 && !row.IPv4, old.IPv6 && !row.IPv6
			err = errors.Join(err, rule.DeleteAll(s.conn, old))
		}
		return about(err, "rule for %s", row.Link)
	})
}

func (h rules) drop(g group) {
	h.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Rule)
		return about(rule.DeleteAll(s.conn, row), "rule for %s", row.Link)
	})
}
