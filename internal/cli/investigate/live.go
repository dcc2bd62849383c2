package investigate

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/evidence"
)

// Tracer follows what an attempt sends through the kernel's rules.
type Tracer interface {
	Live(ctx context.Context, q evidence.LiveQuestion, attempt func()) evidence.Live
}

// maxPlaces bounds in how many namespaces an attempt is followed.
const maxPlaces = 32

// Live makes one attempt to get from one party to another, and follows it through the rules
// of the sender, the host and the receiver. The path is what Path would have gathered.
func (i Investigator) Live(ctx context.Context, tracer Tracer, from, to string) (evidence.Path, evidence.Live, error) {
	i.Quiet = true // there is to be one attempt
	p, err := i.Path(ctx, from, to)
	switch {
	case err != nil:
		return p, evidence.Live{}, err
	case !seen(p.From):
		return p, evidence.Live{}, errors.New("nothing can be sent in the name of another machine: --live follows what a container or this host sends")
	case !p.From.Running() || !p.Target.IsValid():
		return p, evidence.Live{}, nil // which the path says
	}
	q := evidence.LiveQuestion{Places: []evidence.Place{{Name: "host"}}, Protocol: p.Protocol, Targets: []netip.AddrPort{netip.AddrPortFrom(p.Target, p.Port)}}
	if p.From.Kind == evidence.Container && p.From.Namespace != "" {
		q.Places = slices.Insert(q.Places, 0, evidence.Place{Name: "container " + p.From.Name, Namespace: p.From.Namespace})
		q.From = p.Source
	}
	if at := p.Within; at.Namespace != "" {
		q.Places = slices.Insert(q.Places, len(q.Places)-1, evidence.Place{Name: "network " + at.Network, Namespace: at.Namespace})
	}
	if p.Balanced != nil {
		for _, b := range p.Balanced.Backends {
			q.Targets = append(q.Targets, netip.AddrPortFrom(b.Addr, p.Port))
			if b.Here != nil && b.Here.Namespace != p.From.Namespace && len(q.Places) < maxPlaces {
				q.Places = append(q.Places, evidence.Place{Name: "container " + b.Here.Name, Namespace: b.Here.Namespace})
			}
		}
	}
	if gets := p.Gets(); gets.Kind == evidence.Container && gets.Namespace != "" && gets.Namespace != p.From.Namespace {
		q.Places = append(q.Places, evidence.Place{Name: "container " + gets.Name, Namespace: gets.Namespace})
	}
	if at := p.Firewall.To; p.Firewall.Asked && at.IsValid() {
		if at.Port() == 0 {
			at = netip.AddrPortFrom(at.Addr(), p.Port)
		}
		if !slices.Contains(q.Targets, at) {
			q.Targets = append(q.Targets, at)
		}
	}
	live := tracer.Live(ctx, q, func() {
		p.Probe = i.Surveyor.Probe(ctx, evidence.ProbeQuestion{
			Namespace: p.From.Namespace, Protocol: p.Protocol, To: netip.AddrPortFrom(p.Target, p.Port), Timeout: i.patience(),
		})
	})
	return p, live, nil
}
