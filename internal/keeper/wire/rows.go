package wire

import (
	"fmt"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// Row is a row of desired, of a kind that a keeper knows.
type Row struct {
	Owner    desired.Owner         `json:"owner,omitempty"`
	Name     *desired.Name         `json:"name,omitempty"`
	Resolver *desired.Resolver     `json:"resolver,omitempty"`
	Forward  *desired.Forward      `json:"forward,omitempty"`
	Reserve  *desired.Reserve      `json:"reserve,omitempty"` // between keepers only: the daemon reserves
	Isolate  *desired.BridgePolicy `json:"isolate,omitempty"` // of internal networks
	Policy   *Policy               `json:"policy,omitempty"`  // all others of the firewall's

	WireGuard     *desired.WireGuard     `json:"wireguard,omitempty"`
	WireGuardPeer *desired.WireGuardPeer `json:"wireguardPeer,omitempty"`
}

// PackRow returns the wire form of a row; false for kinds that are not the
// keeper's.
func PackRow(owner desired.Owner, row desired.Row) (Row, bool) {
	out := Row{Owner: owner}
	switch r := row.(type) {
	case desired.Name:
		out.Name = &r
	case desired.Resolver:
		out.Resolver = &r
	case desired.Forward:
		out.Forward = &r
	case desired.Reserve:
		out.Reserve = &r
	case desired.WireGuard:
		out.WireGuard = &r
	case desired.WireGuardPeer:
		out.WireGuardPeer = &r
	case desired.BridgePolicy:
		if r.Internal {
			out.Isolate = &r
			return out, true
		}
	}
	if row.Key().Kind == desired.KindPolicy {
		policy, ok := packPolicy(row)
		out.Policy = policy
		return out, ok
	}
	return out, out != Row{Owner: owner}
}

// Unpack returns the row. The error is that of a row of a kind that this version
// does not know.
func (r Row) Unpack() (desired.Owned, error) {
	switch {
	case r.Name != nil:
		return desired.Owned{Owner: r.Owner, Row: *r.Name}, nil
	case r.Resolver != nil:
		return desired.Owned{Owner: r.Owner, Row: *r.Resolver}, nil
	case r.Forward != nil:
		return desired.Owned{Owner: r.Owner, Row: *r.Forward}, nil
	case r.Reserve != nil:
		return desired.Owned{Owner: r.Owner, Row: *r.Reserve}, nil
	case r.WireGuard != nil:
		return desired.Owned{Owner: r.Owner, Row: *r.WireGuard}, nil
	case r.WireGuardPeer != nil:
		return desired.Owned{Owner: r.Owner, Row: *r.WireGuardPeer}, nil
	case r.Isolate != nil:
		return desired.Owned{Owner: r.Owner, Row: *r.Isolate}, nil
	case r.Policy != nil:
		row, err := r.Policy.unpack()
		return desired.Owned{Owner: r.Owner, Row: row}, err
	}
	return desired.Owned{}, model.Errorf(model.Invalid, "a row of an unknown kind")
}

// Delta is desired.Delta.
type Delta struct {
	Owner desired.Owner `json:"owner,omitempty"`
	Old   *Row          `json:"old,omitempty"`
	New   *Row          `json:"new,omitempty"`
}

// PackDeltas returns the wire form of those that concern a keeper. Reservations are
// claimed, not applied.
func PackDeltas(deltas []desired.Delta) []Delta {
	var out []Delta
	for _, d := range deltas {
		one := Delta{Owner: d.Owner}
		known := false
		for _, side := range []struct {
			row desired.Row
			to  **Row
		}{{d.Old, &one.Old}, {d.New, &one.New}} {
			if side.row == nil || side.row.Key().Kind == desired.KindReserve {
				continue
			}
			if packed, ok := PackRow("", side.row); ok {
				*side.to, known = &packed, true
			}
		}
		if known {
			out = append(out, one)
		}
	}
	return out
}

// UnpackDeltas returns the deltas. The error is Row.Unpack's.
func UnpackDeltas(deltas []Delta) ([]desired.Delta, error) {
	out := make([]desired.Delta, 0, len(deltas))
	for _, d := range deltas {
		one := desired.Delta{Owner: d.Owner}
		for _, side := range []struct {
			row *Row
			to  *desired.Row
		}{{d.Old, &one.Old}, {d.New, &one.New}} {
			if side.row == nil {
				continue
			}
			owned, err := side.row.Unpack()
			if err != nil {
				return nil, err
			}
			*side.to = owned.Row
		}
		if one.Old == nil && one.New == nil {
			return nil, model.Errorf(model.Invalid, "a change without a row")
		}
		out = append(out, one)
	}
	return out, nil
}

// PackState returns the rows of a state that concern a keeper, without reservations.
func PackState(s desired.State) []Row {
	var out []Row
	for o := range s.All() {
		if row, ok := PackRow(o.Owner, o.Row); ok && row.Reserve == nil {
			out = append(out, row)
		}
	}
	return out
}

// UnpackState returns the state. Errors are Row.Unpack's, and two rows of one
// key.
func UnpackState(rows []Row) (desired.State, error) {
	var owners []desired.Owner
	byOwner := map[desired.Owner][]desired.Row{}
	for _, r := range rows {
		owned, err := r.Unpack()
		if err != nil {
			return desired.State{}, err
		}
		if byOwner[owned.Owner] == nil {
			owners = append(owners, owned.Owner)
		}
		byOwner[owned.Owner] = append(byOwner[owned.Owner], owned.Row)
	}
	var out desired.State
	for _, owner := range owners {
		var err error
		if out, err = out.Replace(owner, byOwner[owner]); err != nil {
			return desired.State{}, fmt.Errorf("unpack rows: %w", err)
		}
	}
	return out, nil
}
