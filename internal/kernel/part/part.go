// Package part picks those rows of a desired.State that a repair is about, which looks at
// a part of the kernel only.
//
// It is pure: equal States give equal parts.
package part

import (
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
)

// InterfaceParts is how many parts the path of an interface's setting has:
// net/ipv6/conf/eth0/accept_ra.
const InterfaceParts = 5

// WithMasters adds the owners of the bridges that links of owners are ports of: a port
// may be told of before its bridge is, when that is deleted.
func WithMasters(want desired.State, owners []desired.Owner) []desired.Owner {
	out := slices.Clone(owners)
	for _, owner := range owners {
		for row := range want.Owned(owner) {
			l, ok := row.(desired.Link)
			if !ok || l.Master == "" {
				continue
			}
			if o, known := want.Get(desired.Link{Name: l.Master}.Key()); known && !slices.Contains(out, o.Owner) {
				out = append(out, o.Owner)
			}
		}
	}
	return out
}

// OnHost returns the rows of owners in the host's namespace that are objects of its
// kernel, and links in containers that hang on an interface of the host: they go with
// it. Policies are left out: the firewall takes all or none.
func OnHost(want desired.State, owners []desired.Owner) (out desired.State) {
	for _, owner := range owners {
		out = Only(out, owner, want, func(row desired.Row) bool {
			if l, ok := row.(desired.Link); ok && l.OnParent() {
				return true
			}
			kind := row.Key().Kind
			return row.Space() == desired.HostNamespace && kind != desired.KindPolicy && kind.Rank() < desired.KindName.Rank()
		})
	}
	return out
}

// Only adds the rows of an owner that are wanted, and fit, to a state.
func Only(to desired.State, owner desired.Owner, want desired.State, fits func(desired.Row) bool) desired.State {
	rows := slices.Collect(to.Owned(owner))
	for row := range want.Owned(owner) {
		if fits(row) && !slices.ContainsFunc(rows, func(r desired.Row) bool { return r.Key() == row.Key() }) {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return to
	}
	next, err := to.Replace(owner, rows)
	if err != nil {
		return to // two owners of one row: a State has none
	}
	return next
}

// SandboxOf returns who wants a namespace.
func SandboxOf(want desired.State, space string) []desired.Owner {
	o, ok := want.Get(desired.Namespace{Name: space}.Key())
	if !ok {
		return nil
	}
	return []desired.Owner{o.Owner}
}

// IsOn tells whether a row is about an interface, by its wanted name.
func IsOn(row desired.Row, link string) bool {
	switch r := row.(type) {
	case desired.Addr:
		return r.Link == link
	case desired.Route:
		return r.Link == link || r.Link == ""
	case desired.Neigh:
		return r.Link == link
	case desired.Sysctl:
		parts := strings.Split(r.Path, "/")
		return len(parts) == InterfaceParts && parts[3] == link
	}
	return false
}

// Tunnels returns the names of the VXLANs that are wanted, by namespace.
func Tunnels(want desired.State) map[string][]string {
	out := map[string][]string{}
	for o := range want.Kind(desired.KindLink) {
		if l := o.Row.(desired.Link); l.VXLAN != nil {
			out[l.Namespace] = append(out[l.Namespace], l.Name)
		}
	}
	return out
}

// Unfenced are the bridges that are to have no fence: it is no longer wanted where the
// engine has been told to write no rules.
func Unfenced(want desired.State) (bridges []string) {
	for o := range want.Kind(desired.KindLink) {
		if l, ok := o.Row.(desired.Link); ok && l.Type == desired.LinkBridge {
			if _, fenced := want.Get(desired.Fence{Link: l.Name}.Key()); !fenced {
				bridges = append(bridges, l.Name)
			}
		}
	}
	return bridges
}
