package investigate

import (
	"cmp"
	"slices"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// within is the network over hosts by whose interface the sender sends it, if it is one: the
// host's own rules do not see it.
func (t *trace) within() (privateapi.Network, bool) {
	if t.from == nil || t.path.Sender == nil {
		return privateapi.Network{}, false
	}
	for _, m := range t.from.Networks {
		n := networkOf(t.state, m.NetworkID)
		if m.Up && m.Interface != "" && m.Interface == t.path.Sender.Route.Link && n.Namespace != "" {
			return n, true
		}
	}
	return privateapi.Network{}, false
}

// service notes whether the target is a service's address.
func (t *trace) service() {
	for _, n := range t.state.Networks {
		for _, s := range n.Services {
			if s.Address != t.path.Target || t.path.To.Kind != evidence.Outside {
				continue
			}
			name := t.path.To.Name // as it was looked up
			if !slices.Contains(s.Names, name) && len(s.Names) > 0 {
				name = s.Names[0]
			}
			t.path.To = evidence.Party{Kind: evidence.AService, Name: name}
			t.path.Balanced = &evidence.Balanced{Service: name, Network: n.Name}
			for _, task := range s.Tasks {
				t.path.Balanced.Backends = append(t.path.Balanced.Backends, evidence.Backend{Name: task.Name, Addr: task.Address, Ready: task.Ready})
			}
		}
	}
}

// backends notes where the kernel leads connections to the service, and who waits for them in
// the containers here.
func (t *trace) backends() {
	b := t.path.Balanced
	if b == nil {
		return
	}
	var err error
	if b.Shares, err = t.Surveyor.Balanced(t.ctx, t.path.Within.Namespace, t.path.Target); err != nil {
		b.Err = err.Error()
	}
	for i := range b.Backends {
		one := &b.Backends[i]
		c, ok := t.holder(one.Addr)
		if !ok {
			continue
		}
		party, _, err := t.container(c.ID)
		if err != nil || !party.Running() {
			continue
		}
		one.Here, one.Name = &party, cmp.Or(party.Name, one.Name)
		if t.path.Port == 0 {
			continue
		}
		v, err := t.Surveyor.View(t.ctx, evidence.ViewQuestion{Namespace: party.Namespace, Protocol: t.path.Protocol, Port: t.path.Port, Sockets: true})
		if err == nil {
			one.View = &v
		}
	}
	slices.SortStableFunc(b.Backends, func(x, y evidence.Backend) int { return cmp.Compare(x.Name, y.Name) })
}
