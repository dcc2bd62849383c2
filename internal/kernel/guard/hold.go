package guard

import (
	"context"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel"
)

const (
	// holdFor is for how long what is held stays after the last container: the next one
	// may come at once.
	holdFor = 100 * time.Millisecond
	// holdTime bounds one change of what is held.
	holdTime = 5 * time.Second
)

// hold is what holds while others have taken all tables away: tables that belong to this
// process, so that `nft flush ruleset` leaves them alone (nft.Options.Held). They have the
// kernel go on translating the connections that there are, which otherwise meet a stack that
// answers with a reset, and they keep shut what the rules kept shut.
//
// They die with this process, which is here what is wanted: they are worth nothing without
// who has them follow the rows.
type hold struct {
	firewall kernel.Firewall
	shut     func() error
	settings Settings
}

// holdLocked begins or ends to hold, whether a daemon is there or not.
func (g *Guard) holdLocked() {
	armed := g.armed && !g.closed
	switch {
	case armed && g.ports > 0 && g.hold == nil && !g.unheld:
		g.openHoldLocked()
	case armed && g.ports == 0 && g.hold != nil && g.letGo == nil:
		g.letGo = time.AfterFunc(holdFor, g.endHold)
	case !armed:
		g.closeHoldLocked()
	}
}

// endHold holds no longer, unless another container has come meanwhile.
func (g *Guard) endHold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.letGo = nil
	if g.ports == 0 {
		g.closeHoldLocked()
	}
}

func (g *Guard) openHoldLocked() {
	ctx, cancel := context.WithTimeout(context.Background(), holdTime)
	defer cancel()
	h := &hold{settings: g.settings}
	err := g.o.Enter(func() (err error) {
		h.firewall, h.shut, err = g.o.Hold(g.settings)
		return err
	})
	if err == nil {
		g.hold = h
		_, err = h.firewall.Resync(ctx, g.allLocked())
	}
	g.unheldLocked(err)
}

// followLocked has what is held follow policies that have changed. What cannot follow is
// not held any more: it would keep shut what is open by now.
func (g *Guard) followLocked(deltas []desired.Delta) {
	if g.hold == nil || len(deltas) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), holdTime)
	defer cancel()
	err := g.hold.firewall.Apply(ctx, deltas)
	if err != nil {
		_, err = g.hold.firewall.Resync(ctx, g.allLocked())
	}
	g.unheldLocked(err)
}

// resyncHoldLocked has what is held be as all policies say, for the firewall that is meant.
func (g *Guard) resyncHoldLocked() {
	g.unheld = false // that may have been the rows' fault
	if g.hold == nil {
		return
	}
	if g.hold.settings != g.settings {
		g.closeHoldLocked() // opened again by who called
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), holdTime)
	defer cancel()
	_, err := g.hold.firewall.Resync(ctx, g.allLocked())
	g.unheldLocked(err)
}

// unheldLocked gives up after an error, until all rows come again.
func (g *Guard) unheldLocked(err error) {
	if err == nil {
		return
	}
	g.o.Logger.Debug("nothing holds when others flush the ruleset", "op", "keeper.guard", "err", err)
	g.closeHoldLocked()
	g.unheld = true
}

func (g *Guard) closeHoldLocked() {
	if g.hold != nil {
		g.hold.shut() //nolint:errcheck // only a socket, and with it goes what was made
		g.hold = nil
	}
}

func (g *Guard) allLocked() (rows []desired.Row) {
	for _, o := range g.rows {
		rows = append(rows, o.Row)
	}
	return rows
}

// policies are the deltas that are about policies, as changes of those alone.
func policies(deltas []desired.Delta) (out []desired.Delta) {
	is := func(r desired.Row) bool { return r != nil && r.Key().Kind == desired.KindPolicy }
	for _, d := range deltas {
		if is(d.Old) || is(d.New) {
			out = append(out, d)
		}
	}
	return out
}
