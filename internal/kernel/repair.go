package kernel

import (
	"context"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/part"
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
	p.compare(part.OnHost(want, part.WithMasters(want, owners)))
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

// withRemade adds what is wanted of the ends in containers that were made anew: the
// rows of the endpoint and of the sandbox, on that interface.
func (p *pass) withRemade(want desired.State) desired.State {
	for end, owner := range p.remade {
		for _, owner := range append(part.SandboxOf(p.whole, end.space), owner) {
			want = part.Only(want, owner, p.whole, func(row desired.Row) bool { return row.Space() == end.space && part.IsOn(row, end.link) })
		}
	}
	return want
}
