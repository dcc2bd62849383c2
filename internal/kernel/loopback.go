package kernel

import (
	"fmt"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/link"
)

// loopback is the loopback interface of every network namespace.
const loopback = "lo"

// loopbacks makes desired.Loopback so. It is never set back.
type loopbacks struct{ *pass }

func handleLoopbacks(p *pass) handler {
	h := loopbacks{p}
	return handler{name: "loopback", find: p.inEach("loopback", desired.KindLoopback, h.find), put: h.put}
}

func (h loopbacks) find(g group) (f found, err error) {
	if len(g.deltas) == 0 {
		return f, nil
	}
	err = h.in(g.space, func(s *space) error {
		have, err := h.lookup(s, loopback)
		for _, d := range g.deltas {
			f.check(d, have.Packets.LoopbackDrift(d.New.(desired.Loopback)))
		}
		return err
	})
	return f, err
}

func (h loopbacks) put(g group) {
	h.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Loopback)
		have, err := h.lookup(s, loopback)
		if err == nil && have.Packets.LoopbackDrift(row) != "" {
			err = link.SetLoopback(s.conn, loopback, row)
		}
		if err != nil {
			return fmt.Errorf("let %s take packets of %d bytes: %w", loopback, row.Packets, err)
		}
		return nil
	})
}
