package kernel

import (
	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/rule"
)

// rules makes desired.Rule and desired.Lookup so.
type rules struct{ *pass }

func handleRules(p *pass) handler {
	h := rules{p}
	return handler{name: "rules", find: p.inEach("rules", desired.KindRule, h.find), put: h.put, drop: h.drop}
}

func (h rules) find(g group) (f found, err error) {
	err = h.in(g.space, func(s *space) error {
		lacking, strays, err := rule.Compare(s.conn, g.deltas)
		for _, d := range lacking {
			f.check(d, missing)
		}
		for _, r := range strays {
			f.stray(desired.HostOwner, r.Row(g.space))
		}
		return err
	})
	return f, err
}

// put also takes away what a row no longer asks for.
func (h rules) put(g group) {
	h.each(g, func(s *space, d desired.Delta) error {
		return about(rule.PutAll(s.conn, d), "%s", d.New)
	})
}

func (h rules) drop(g group) {
	h.eachGone(g, func(s *space, d desired.Delta) error {
		return about(rule.DeleteAll(s.conn, d.Old), "%s", d.Old)
	})
}
