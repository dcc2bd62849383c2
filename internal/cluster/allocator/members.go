package allocator

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/manager/allocator/networkallocator"

	"github.com/linkspan/linkspan/internal/model"
)

// IsTaskAllocated implements networkallocator.NetworkAllocator.
func (a *allocator) IsTaskAllocated(t *api.Task) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.tasks[t.ID] || len(t.Networks) == 0 {
		return false
	}
	for _, at := range t.Networks {
		nw := a.networks[at.Network.ID]
		if nw == nil {
			return false
		}
		if !nw.local && !nw.holds(at.Addresses) {
			return false
		}
	}
	return true
}

// holds tells whether there are addresses, and the first was given.
func (nw *network) holds(addresses []string) bool {
	if len(addresses) == 0 {
		return false
	}
	one, err := address(addresses[0])
	return err == nil && nw.held[one]
}

// AllocateTask implements networkallocator.NetworkAllocator: a task gets one address of
// each family on each of its networks, or none at all.
func (a *allocator) AllocateTask(t *api.Task) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, at := range t.Networks {
		if err := a.join(at); err != nil {
			for _, done := range t.Networks[:i] {
				a.leave(done)
			}
			return fmt.Errorf("failed to allocate network IP for task %s network %s: %w", t.ID, at.Network.ID, err)
		}
	}
	a.tasks[t.ID] = true
	return nil
}

// join gives one membership its addresses: those that it names, else free ones.
func (a *allocator) join(at *api.NetworkAttachment) error {
	nw := a.networks[at.Network.ID]
	switch {
	case nw == nil:
		return unknown(at.Network.ID)
	case nw.local:
		return nil
	}
	asked := map[model.Family]netip.Addr{}
	for _, text := range at.Addresses {
		if text == "" {
			continue
		}
		one, err := address(text)
		if err != nil {
			return err
		}
		asked[model.FamilyOf(one)] = one
	}
	families := nw.families()
	for f, one := range asked {
		if !slices.Contains(families, f) {
			return fmt.Errorf("could not find an available IP: %s is in no subnet of the network", one)
		}
	}
	var got []string
	var given []netip.Addr
	for _, f := range families {
		p, err := nw.take(f, asked[f])
		if err != nil {
			for _, one := range given {
				delete(nw.held, one)
			}
			return err
		}
		got, given = append(got, p.String()), append(given, p.Addr())
	}
	at.Addresses = got
	return nil
}

// leave takes the addresses of one membership back.
func (a *allocator) leave(at *api.NetworkAttachment) {
	if nw := a.networks[at.Network.ID]; nw != nil && !nw.local {
		for _, text := range at.Addresses {
			nw.release(text)
		}
		at.Addresses = nil
	}
}

// release takes an address back. Those that stand for something else stay held.
func (nw *network) release(text string) {
	one, err := address(text)
	if err != nil {
		return
	}
	for _, p := range nw.pools {
		if p.gateway == one {
			return
		}
	}
	delete(nw.held, one)
}

// DeallocateTask implements networkallocator.NetworkAllocator.
func (a *allocator) DeallocateTask(t *api.Task) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tasks, t.ID)
	for _, at := range t.Networks {
		if a.networks[at.Network.ID] == nil {
			return unknown(at.Network.ID)
		}
		a.leave(at)
	}
	return nil
}

// networksOf are those that a service's virtual addresses are on.
func networksOf(s *api.Service) []*api.NetworkAttachmentConfig {
	if len(s.Spec.Task.Networks) == 0 {
		return s.Spec.Networks
	}
	return s.Spec.Task.Networks
}

// virtual tells whether a service is reached by virtual addresses.
func virtual(s *api.Service) bool {
	return s.Spec.Endpoint == nil || s.Spec.Endpoint.Mode == api.ResolutionModeVirtualIP
}

// wants tells whether a service is to have a virtual address on a network.
func (a *allocator) wants(s *api.Service, network string) bool {
	if nw := a.networks[network]; nw != nil && nw.ingress && networkallocator.IsIngressNetworkNeeded(s) {
		return true
	}
	return slices.ContainsFunc(networksOf(s), func(c *api.NetworkAttachmentConfig) bool { return c.Target == network })
}

// lacks returns the families of a network in which a service has no virtual address there.
// The host's own networks, and such as are not known, count as having one.
func (a *allocator) lacks(s *api.Service, network string) (out []model.Family) {
	families := []model.Family{model.IPv4}
	nw := a.networks[network]
	if nw != nil && !nw.local {
		families = nw.families()
	}
	for _, f := range families {
		has := func(v *api.Endpoint_VirtualIP) bool {
			one, err := address(v.Addr)
			return v.NetworkID == network && (nw == nil || nw.local || err == nil && model.FamilyOf(one) == f)
		}
		if s.Endpoint == nil || !slices.ContainsFunc(s.Endpoint.VirtualIPs, has) {
			out = append(out, f)
		}
	}
	return out
}

// IsServiceAllocated implements networkallocator.NetworkAllocator: it is false when
// addresses are missing, or some are too many.
func (a *allocator) IsServiceAllocated(s *api.Service, _ ...func(*networkallocator.ServiceAllocationOpts)) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !virtual(s) {
		return !a.services[s.ID]
	}
	for _, c := range networksOf(s) {
		if !a.services[s.ID] || len(a.lacks(s, c.Target)) > 0 {
			return false
		}
	}
	if s.Endpoint == nil {
		return true
	}
	for _, v := range s.Endpoint.VirtualIPs {
		if !a.wants(s, v.NetworkID) || !a.services[s.ID] {
			return false
		}
	}
	return true
}

// AllocateService implements networkallocator.NetworkAllocator: a service gets a virtual
// address of each family on each of its networks; those of networks that it has left are taken
// back. One that does not get them all keeps those that it had, which are in the store.
func (a *allocator) AllocateService(s *api.Service) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.Endpoint == nil {
		s.Endpoint = &api.Endpoint{}
	}
	s.Endpoint.Spec = s.Spec.Endpoint.Copy()
	var kept, left []*api.Endpoint_VirtualIP
	for _, v := range s.Endpoint.VirtualIPs {
		if virtual(s) && a.wants(s, v.NetworkID) {
			kept = append(kept, v)
		} else {
			left = append(left, v)
		}
	}
	given := map[*api.Endpoint_VirtualIP]string{} // what they named before
	if err := a.giveAll(s, kept, given); err != nil {
		for v, named := range given {
			a.returnVirtual(v)
			v.Addr = named
		}
		return err
	}
	for _, v := range left {
		a.returnVirtual(v)
	}
	delete(a.services, s.ID)
	if len(s.Endpoint.VirtualIPs) > 0 {
		a.services[s.ID] = true
	}
	return nil
}

// giveAll gives a service the virtual addresses that it keeps, and those that it lacks, and
// notes which of them it did not hold before. With an error it has those that it had.
func (a *allocator) giveAll(s *api.Service, kept []*api.Endpoint_VirtualIP, given map[*api.Endpoint_VirtualIP]string) error {
	give := func(v *api.Endpoint_VirtualIP, f model.Family) error {
		named := v.Addr
		fresh, err := a.giveVirtual(v, f, a.services[s.ID])
		if fresh {
			given[v] = named
		}
		return err
	}
	for _, v := range kept {
		if err := give(v, 0); err != nil {
			return err
		}
	}
	wanted := slices.Clone(kept)
	if virtual(s) {
		for _, c := range networksOf(s) {
			for _, f := range a.lacks(&api.Service{Endpoint: &api.Endpoint{VirtualIPs: kept}}, c.Target) {
				v := &api.Endpoint_VirtualIP{NetworkID: c.Target}
				if err := give(v, f); err != nil {
					return err
				}
				wanted = append(wanted, v)
			}
		}
	}
	s.Endpoint.VirtualIPs = wanted
	return nil
}

// giveVirtual gives a virtual address: the one that v names, else one of family f, or of
// the network's first if that is 0. known says that the service has those that it names
// already; fresh that this one was free before.
func (a *allocator) giveVirtual(v *api.Endpoint_VirtualIP, f model.Family, known bool) (fresh bool, err error) {
	nw := a.networks[v.NetworkID]
	switch {
	case nw == nil:
		return false, errors.New("networkallocator: could not find local network state")
	case nw.local, known && v.Addr != "" && nw.holds([]string{v.Addr}):
		return false, nil
	}
	var asked netip.Addr
	if f == 0 {
		f = nw.families()[0]
	}
	if v.Addr != "" {
		if asked, err = address(v.Addr); err != nil {
			return false, err
		}
		f = model.FamilyOf(asked)
	}
	p, err := nw.take(f, asked)
	if err != nil {
		return false, err
	}
	v.Addr = p.String()
	return true, nil
}

func (a *allocator) returnVirtual(v *api.Endpoint_VirtualIP) {
	if nw := a.networks[v.NetworkID]; nw != nil && !nw.local && v.Addr != "" {
		nw.release(v.Addr)
	}
}

// DeallocateService implements networkallocator.NetworkAllocator.
func (a *allocator) DeallocateService(s *api.Service) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dropService(s)
	return nil
}

func (a *allocator) dropService(s *api.Service) {
	if s.Endpoint == nil {
		return
	}
	for _, v := range s.Endpoint.VirtualIPs {
		a.returnVirtual(v)
	}
	s.Endpoint.VirtualIPs = nil
	delete(a.services, s.ID)
}

// AllocateAttachment implements networkallocator.NetworkAllocator: a node is told of a
// network that is in use on it. Its address there is the gateway's, as on every node.
func (a *allocator) AllocateAttachment(n *api.Node, at *api.NetworkAttachment) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	nw := a.networks[at.Network.ID]
	if nw == nil {
		return unknown(at.Network.ID)
	}
	if a.nodes[n.ID] == nil {
		a.nodes[n.ID] = map[string]bool{}
	}
	a.nodes[n.ID][at.Network.ID] = true
	at.Addresses = nil
	if len(nw.pools) > 0 {
		at.Addresses = []string{netip.PrefixFrom(nw.pools[0].gateway, nw.pools[0].subnet.Bits()).String()}
	}
	return nil
}

// DeallocateAttachment implements networkallocator.NetworkAllocator.
func (a *allocator) DeallocateAttachment(n *api.Node, at *api.NetworkAttachment) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	at.Addresses = nil
	delete(a.nodes[n.ID], at.Network.ID)
	if len(a.nodes[n.ID]) == 0 {
		delete(a.nodes, n.ID)
	}
	return nil
}

// IsAttachmentAllocated implements networkallocator.NetworkAllocator.
func (a *allocator) IsAttachmentAllocated(n *api.Node, at *api.NetworkAttachment) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return n != nil && at != nil && at.Network != nil && a.nodes[n.ID][at.Network.ID] && a.networks[at.Network.ID] != nil
}
