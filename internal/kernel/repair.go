package kernel

import (
	"context"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/watch"
)

// scope is how much of what there is a pass compares.
type scope int

const (
	ofAll    scope = iota // everything, in all namespaces
	ofHost                // everything in the host's namespace
	ofOwners              // the rows of some owners, in the host's namespace
)

// Watch tells whose rows others may have changed, see watch.Suspicions.
func (k *Kernel) Watch(ctx context.Context, wanted func() desired.State) (<-chan []desired.Suspicion, error) {
	port, err := k.host.Port()
	if err != nil {
		return nil, err
	}
	return watch.Suspicions(ctx, watch.Host{
		Instance: k.instance, Logger: k.log, Sysctls: &k.sysctls, Own: []uint32{port}, Firewall: k.firewall, ForwardingGrace: k.grace,
		Enter: func(ctx context.Context, f func() error) error { return k.netns.Enter(ctx, k.hostFile, f) },
	}, wanted)
}

// Repair is Resync for the rows of some owners alone, of which there may be
// desired.Firewall and desired.EverythingOnHost. What a container did inside its own
// namespace stays as it is: only where a veth pair was gone, its end there gets its
// addresses, settings and routes again. Nothing else is looked at, so that the cost is
// that of the owners.
func (k *Kernel) Repair(ctx context.Context, want desired.State, owners []desired.Owner) (desired.Report, error) {
	p, err := k.begin(ctx, nil)
	if err != nil {
		return desired.Report{}, err
	}
	defer p.end()
	p.repair, p.scope = true, ofOwners
	before := k.Writes()
	var report desired.Report
	everything := slices.Contains(owners, desired.EverythingOnHost)
	if everything || slices.Contains(owners, desired.Firewall) {
		var firewallErr error
		report, firewallErr = policies{p}.compare(want, false)
		p.note(firewallErr)
	}
	if everything {
		p.scope, owners = ofHost, slices.Collect(want.Owners())
	}
	p.whole = want
	p.compare(hostRows(want, withMasters(want, owners)))
	report.Drift = append(report.Drift, p.drift...)
	report.Writes += k.Writes() - before
	return report, p.err()
}

// compare finds, step by step, what is not as wanted, and puts it right unless the pass
// is dry.
func (p *pass) compare(want desired.State) {
	strays := map[desired.Kind][]desired.Delta{}
	wrong := map[desired.Kind][]desired.Delta{}
	for _, s := range p.steps {
		if s.find != nil && (p.scope == ofAll || s.kind != desired.KindNamespace) {
			wrong[s.kind], strays[s.kind] = s.find(want)
		}
		if p.dry {
			continue
		}
		p.run(wrong[s.kind], s.put)
		if s.kind == desired.KindLink && len(p.remade) > 0 && p.scope != ofAll {
			want = p.withRemade(want)
		}
	}
	if !p.dry {
		p.markDoomed(strays[desired.KindNamespace])
		p.dropAll(strays)
	}
}

// spares tells whether something left over is out of sight: whoever wants it may have
// been left out.
func (s scope) spares(d desired.Delta) bool {
	return s == ofOwners || s == ofHost && d.Space() != desired.HostNamespace
}

// withMasters adds the owners of the bridges that links of owners are ports of: a port
// may be told of before its bridge is, when that is deleted.
func withMasters(want desired.State, owners []desired.Owner) []desired.Owner {
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

// hostRows returns the rows of owners in the host's namespace that are objects of its
// kernel, and links in containers that hang on an interface of the host: they go with
// it. Policies are left out: the firewall takes all or none.
func hostRows(want desired.State, owners []desired.Owner) (out desired.State) {
	for _, owner := range owners {
		out = only(out, owner, want, func(row desired.Row) bool {
			if l, ok := row.(desired.Link); ok && l.OnParent() {
				return true
			}
			kind := row.Key().Kind
			return row.Space() == desired.HostNamespace && kind != desired.KindPolicy && kind.Rank() < desired.KindName.Rank()
		})
	}
	return out
}

// only adds the rows of an owner that are wanted, and fit, to a state.
func only(to desired.State, owner desired.Owner, want desired.State, fits func(desired.Row) bool) desired.State {
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

// withRemade adds what is wanted of the ends in containers that were made anew: the
// rows of the endpoint and of the sandbox, on that interface.
func (p *pass) withRemade(want desired.State) desired.State {
	for end, owner := range p.remade {
		for _, owner := range append(sandboxOf(p.whole, end.space), owner) {
			want = only(want, owner, p.whole, func(row desired.Row) bool { return row.Space() == end.space && isOn(row, end.link) })
		}
	}
	return want
}

// sandboxOf returns who wants a namespace.
func sandboxOf(want desired.State, space string) []desired.Owner {
	o, ok := want.Get(desired.Namespace{Name: space}.Key())
	if !ok {
		return nil
	}
	return []desired.Owner{o.Owner}
}

// isOn tells whether a row is about an interface, by its wanted name.
func isOn(row desired.Row, link string) bool {
	switch r := row.(type) {
	case desired.Addr:
		return r.Link == link
	case desired.Route:
		return r.Link == link || r.Link == ""
	case desired.Neigh:
		return r.Link == link
	case desired.Sysctl:
		parts := strings.Split(r.Path, "/")
		return len(parts) == sysctlParts && parts[3] == link
	}
	return false
}
