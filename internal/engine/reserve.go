package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// PortReserver holds host ports against the other processes of the host, for longer
// than the daemon lives. It is quick, and asked within the turn: which ports are
// wanted depends on the other ops there. What takes long is a Source.
type PortReserver interface {
	// Reserve holds all rows or, with an error, none more than before. Rows that are
	// held already are success. If somebody else has a port the error is a
	// *desired.PortTaken.
	Reserve(ctx context.Context, rows []desired.Reserve) error
	// Release lets go of rows; those that are not held are passed over.
	Release(ctx context.Context, rows []desired.Reserve) error
	// Reserved returns what is held now, also for a daemon that was here before.
	Reserved(ctx context.Context) ([]desired.Reserve, error)
}

// reserver makes reservations follow plans.
type reserver struct {
	ports PortReserver // nil: nothing is reserved
	log   *slog.Logger
}

// maxTries is how often an op is run anew because a port that it chose is taken.
const maxTries = 16

// tries is what a turn learned about ports that are taken.
type tries struct {
	taken []facts.TakenPorts
	names []facts.TakenName
	count map[*request]int
	rival int // how often somebody else was faster at the store
}

// stale counts a commit that was based on what is not so any more, and tells whether
// to run the ops once more on what is.
func (t *tries) stale() bool {
	t.rival++
	return t.rival <= maxStale
}

// known adds what was learned to the facts.
func (t tries) known(f facts.Set) facts.Set {
	f.Taken, f.TakenNames = t.taken, t.names
	return f
}

// again notes which port cannot be had, and tells whether it is worth running
// the ops once more: those that asked for exactly that port will refuse, others
// choose another.
func (t *tries) again(out outcome, guilty refusal, held *desired.PortTaken) bool {
	ports := model.Port(held.Port)
	if held.Port == 0 {
		ports = model.PortRange{First: 1, Last: 65535}
	}
	t.taken = append(t.taken, facts.TakenPorts{
		Protocol: held.Row.Protocol, Addr: held.Row.Addr, Ports: ports, Why: held.Err.Error(), Who: held.Who,
	})
	return t.once(out, guilty)
}

// renamed notes which interface cannot have its name, and tells whether it is worth
// running the ops once more.
func (t *tries) renamed(out outcome, guilty refusal, taken *desired.NameTaken) bool {
	t.names = append(t.names, facts.TakenName{Namespace: taken.Namespace, Name: taken.Name})
	return t.once(out, guilty)
}

// once counts another run of the ops that are to blame. False if one of them has had
// enough.
func (t *tries) once(out outcome, guilty refusal) bool {
	for _, r := range out.ran {
		if !touches(out.owners[r], guilty) {
			continue
		}
		if t.count == nil {
			t.count = map[*request]int{}
		}
		if t.count[r]++; t.count[r] > maxTries {
			return false
		}
	}
	return true
}

func touches(owners []desired.Owner, guilty refusal) bool {
	return slices.ContainsFunc(owners, func(o desired.Owner) bool { return slices.Contains(guilty, o) })
}

// portChange is what a turn changes about reservations.
type portChange struct {
	fresh  []desired.Reserve // to be reserved
	early  []desired.Reserve // to be let go first, because a fresh one lies across it
	gone   []desired.Reserve // to be let go once nothing leads there any more
	owners map[desired.Key]desired.Owner
}

func reservationChange(deltas []desired.Delta) portChange {
	c := portChange{owners: map[desired.Key]desired.Owner{}}
	var gone []desired.Reserve
	for _, d := range deltas {
		if d.Key().Kind != desired.KindReserve || d.Old == d.New {
			continue
		}
		if d.New != nil {
			c.fresh = append(c.fresh, d.New.(desired.Reserve))
			c.owners[d.Key()] = d.Owner
		}
		if d.Old != nil {
			gone = append(gone, d.Old.(desired.Reserve))
		}
	}
	for _, row := range gone {
		if slices.ContainsFunc(c.fresh, row.Collides) {
			c.early = append(c.early, row)
		} else {
			c.gone = append(c.gone, row)
		}
	}
	return c
}

// reserve holds what a turn needs. If that fails, everything is held as before, and
// the owners are those whose rows could not be had.
func (r reserver) reserve(ctx context.Context, c portChange) (refusal, error) {
	if r.ports == nil || len(c.fresh) == 0 {
		return nil, nil
	}
	if err := r.ports.Release(ctx, c.early); err != nil {
		return c.all(), fmt.Errorf("let go of host ports: %w", err)
	}
	err := r.ports.Reserve(ctx, c.fresh)
	if err == nil {
		return nil, nil
	}
	r.regain(ctx, c.early)
	var held *desired.PortTaken
	if errors.As(err, &held) {
		if owner, known := c.owners[held.Row.Key()]; known {
			return refusal{owner}, err
		}
	}
	return c.all(), fmt.Errorf("reserve host ports: %w", err)
}

func (c portChange) all() refusal {
	var out refusal
	for _, o := range c.owners {
		if !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	return out
}

// undo takes a change back, for a turn that did not come to pass.
func (r reserver) undo(ctx context.Context, c portChange) {
	r.release(ctx, c.fresh)
	r.regain(ctx, c.early)
}

// release lets go of rows. What stays by mistake is found by the next resync.
func (r reserver) release(ctx context.Context, rows []desired.Reserve) {
	if r.ports == nil || len(rows) == 0 {
		return
	}
	if err := r.ports.Release(ctx, rows); err != nil {
		r.log.Warn("host ports stay reserved", "op", "engine.release", "err", err)
	}
}

// regain holds rows again that were let go a moment ago: one by one, because
// each that is lost meanwhile is only a lost reservation, the port still leads to
// its container.
func (r reserver) regain(ctx context.Context, rows []desired.Reserve) {
	if r.ports == nil || len(rows) == 0 || r.ports.Reserve(ctx, rows) == nil {
		return
	}
	for _, row := range rows {
		err := r.ports.Reserve(ctx, []desired.Reserve{row})
		if err == nil {
			continue
		}
		var held *desired.PortTaken
		if errors.As(err, &held) && held.Who != "" {
			err = fmt.Errorf("%w (%s)", err, held.Who)
		}
		r.log.Warn("a published port is not reserved", "op", "engine.claim", "err", err)
		if held == nil {
			return // it is not about this port
		}
	}
}

// reservations compares what is held with the plan.
func (r reserver) reservations(ctx context.Context, plan desired.State) (missing, strays []desired.Reserve, err error) {
	if r.ports == nil {
		return nil, nil, nil
	}
	held, err := r.ports.Reserved(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("look at the reserved ports: %w", err)
	}
	have := map[desired.Reserve]bool{}
	for _, row := range held {
		have[row] = true
	}
	for o := range plan.Kind(desired.KindReserve) {
		row := o.Row.(desired.Reserve)
		if !have[row] {
			missing = append(missing, row)
		}
		delete(have, row)
	}
	for row := range have {
		strays = append(strays, row)
	}
	return missing, strays, nil
}

// reserveAll reserves what the plan wants reserved, and nothing else. With dry it
// only says what differs.
func (r reserver) reserveAll(ctx context.Context, plan desired.State, dry bool) (desired.Report, error) {
	missing, strays, err := r.reservations(ctx, plan)
	var out desired.Report
	for _, row := range strays {
		out.Drift = append(out.Drift, "left over: "+row.String())
	}
	for _, row := range missing {
		out.Drift = append(out.Drift, "missing: "+row.String())
	}
	slices.Sort(out.Drift)
	if !dry && err == nil {
		r.release(ctx, strays)
		r.regain(ctx, missing)
	}
	return out, err
}
