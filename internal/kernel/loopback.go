package kernel

import (
	"fmt"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/link"
)

// loopback is the loopback interface of every network namespace.
const loopback = "lo"

func (t *turn) findLoopback(g group) (f found, err error) {
	if len(g.deltas) == 0 {
		return f, nil
	}
	err = t.in(g.space, func(s *space) error {
		have, err := t.lookup(s, loopback)
		for _, d := range g.deltas {
			f.check(d, have.Packets.LoopbackDrift(d.New.(desired.Loopback)))
		}
		return err
	})
	return f, err
}

func (t *turn) putLoopback(g group) {
	t.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Loopback)
		have, err := t.lookup(s, loopback)
		if err == nil && have.Packets.LoopbackDrift(row) != "" {
			err = link.SetLoopback(s.conn, loopback, row)
		}
		if err != nil {
			return fmt.Errorf("let %s take packets of %d bytes: %w", loopback, row.Packets, err)
		}
		return nil
	})
}
