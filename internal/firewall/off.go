package firewall

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// Managed returns what becomes of rows where a family has no rules of ours. What only
// a rule could do is left out: containers are neither translated nor kept apart, and
// published ports are served in user space. What is closed without a rule stays closed:
// fences keep internal networks as they are, but localhost leads to no network, since
// nothing would lead it on to a container.
//
// Who is behind a bridge port is a matter of frames, not of a family: it is looked
// after while there are rules of one family at least.
func (s Settings) Managed(rows []desired.Row) []desired.Row {
	if !s.Off4 && !s.Off6 {
		return rows
	}
	out := make([]desired.Row, 0, len(rows))
	served := map[desired.Key]bool{} // as a whole, in place of what a rule does not reach
	for _, row := range rows {
		if p, ok := row.(desired.Publish); ok && s.offAt(p.Host.Is4()) {
			f := inUserSpace(p)
			served[f.Key()] = true
			out = append(out, f)
		}
	}
	for _, row := range rows {
		if f, ok := row.(desired.Forward); ok && served[f.Key()] {
			continue
		}
		if row = s.managed(row); row != nil {
			out = append(out, row)
		}
	}
	return out
}

func (s Settings) offAt(four bool) bool { return four && s.Off4 || !four && s.Off6 }

func inUserSpace(p desired.Publish) desired.Forward {
	return desired.Forward{Protocol: p.Protocol, Host: p.Host, First: p.First, Last: p.Last, To: p.To, ToFirst: p.ToFirst}
}

// managed returns what is left of a row; nil if nothing is.
func (s Settings) managed(row desired.Row) desired.Row {
	none := s.Off4 && s.Off6
	switch r := row.(type) {
	case desired.ForwardDrop:
		if r.IPv4, r.IPv6 = r.IPv4 && !s.Off4, r.IPv6 && !s.Off6; r.IPv4 || r.IPv6 {
			return r
		}
		return nil
	case desired.Fence:
		if r.Localhost = r.Localhost && !s.Off4; r.Localhost || r.Closed || len(r.Inside) > 0 {
			return r
		}
		return nil
	case desired.Rule:
		if r.IPv4, r.IPv6 = r.IPv4 && !s.Off4, r.IPv6 && !s.Off6; r.IPv4 || r.IPv6 {
			return r
		}
		return nil
	case desired.Forward:
		r.Transparent = r.Transparent && !s.offAt(r.To.Is4())
		if !r.Transparent {
			r.Subnet = netip.Prefix{}
		}
		return r
	case desired.PortSecurity, desired.Identity, desired.Elsewhere, desired.AcceptMark, desired.Transparent:
		if none {
			return nil
		}
	}
	if f, ok := familyOf(row); ok && s.Off(f) {
		return nil
	}
	return row
}

// familyOf returns the family of a policy that is of one.
func familyOf(row desired.Row) (model.Family, bool) {
	switch r := row.(type) {
	case desired.Masquerade:
		return model.FamilyOf(r.Subnet.Addr()), true
	case desired.Publish:
		return model.FamilyOf(r.Host), true
	case desired.Served:
		return model.FamilyOf(r.Host), true
	case desired.Direct:
		return model.FamilyOf(r.Addr), true
	case desired.DirectFrom:
		return model.FamilyOf(r.Direct.Addr), true
	case desired.DirectICMP:
		return model.FamilyOf(r.Addr), true
	case desired.Allow:
		return model.FamilyOf(r.From), true
	}
	return 0, false
}
