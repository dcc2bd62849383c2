package netplugin

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
)

// engineModel is what an engine has made at a plugin.
type engineModel struct {
	active bool
	roles  []string
	// again says that it was activated more than once: an engine may then repeat what the
	// plugin could have forgotten.
	again    bool
	needsMAC bool
	spaces   []string
	networks map[string]*knownNetwork
	pools    map[string]*knownPool
}

type knownNetwork struct {
	subnets   []netip.Prefix
	endpoints map[string]*knownEndpoint
	doubted   bool // an endpoint was refused: the plugin may have forgotten the network
}

type knownEndpoint struct{ joined bool }

type knownPool struct {
	subnet     netip.Prefix
	references int
	taken      map[netip.Addr]bool
}

func newEngineModel() engineModel {
	return engineModel{networks: map[string]*knownNetwork{}, pools: map[string]*knownPool{}}
}

func (m *engineModel) activated(raw []byte) {
	var said struct{ Implements []string }
	if decode(raw, &said) == nil {
		m.again, m.active, m.roles = m.active, true, said.Implements
	}
}

// left says what has not been taken back.
func (m *engineModel) left() (out []string) {
	for _, id := range slices.Sorted(maps.Keys(m.networks)) {
		out = append(out, fmt.Sprintf("network %.12s", id))
		for _, e := range slices.Sorted(maps.Keys(m.networks[id].endpoints)) {
			out = append(out, fmt.Sprintf("endpoint %.12s", e))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(m.pools)) {
		out = append(out, fmt.Sprintf("pool %s with %d addresses", m.pools[id].subnet, len(m.pools[id].taken)))
	}
	return out
}

// judge is what a checker makes of a method.
type judge struct {
	before  func(c *Checker, method string, body []byte)
	after   func(c *Checker, body, answer []byte)
	refused func(c *Checker, body []byte)
}

// judges are the methods of the protocol.
func judges() map[string]judge {
	return map[string]judge{
		network + "GetCapabilities":             {},
		network + "GwAllocCheck":                {},
		network + "AllocateNetwork":             {before: readable[createNetwork](ruleNetwork)},
		network + "FreeNetwork":                 {before: readable[createNetwork](ruleNetwork)},
		network + "CreateNetwork":               {before: beforeCreateNetwork, after: afterCreateNetwork},
		network + "DeleteNetwork":               {before: beforeDeleteNetwork, after: afterDeleteNetwork},
		network + "CreateEndpoint":              {before: beforeCreateEndpoint, after: afterCreateEndpoint, refused: refusedEndpoint},
		network + "EndpointOperInfo":            {before: onEndpoint(ruleEndpoints, nil)},
		network + "Join":                        {before: beforeJoin, after: joins(true)},
		network + "Leave":                       {before: onEndpoint(ruleJoin, hasJoined), after: joins(false)},
		network + "DeleteEndpoint":              {before: onEndpoint(ruleEndpoints, hasLeft), after: afterDeleteEndpoint},
		network + "ProgramExternalConnectivity": {before: onEndpoint(ruleOutward, hasJoined)},
		network + "RevokeExternalConnectivity":  {before: onEndpoint(ruleOutward, hasJoined)},
		network + "DiscoverNew":                 {before: beforeDiscovery},
		network + "DiscoverDelete":              {before: beforeDiscovery},
		ipam + "GetCapabilities":                {after: afterIPAMCapabilities},
		ipam + "GetDefaultAddressSpaces":        {after: afterSpaces},
		ipam + "RequestPool":                    {before: beforeRequestPool, after: afterRequestPool},
		ipam + "ReleasePool":                    {before: beforeReleasePool, after: afterReleasePool},
		ipam + "RequestAddress":                 {before: beforeRequestAddress, after: afterRequestAddress},
		ipam + "ReleaseAddress":                 {before: beforeReleaseAddress, after: afterReleaseAddress},
		ipam + "DiscoverNew":                    {before: beforeDiscovery},
		ipam + "DiscoverDelete":                 {before: beforeDiscovery},
	}
}

// readable is for a call of which only the form is judged.
func readable[T any](name string) func(*Checker, string, []byte) {
	return func(c *Checker, method string, body []byte) {
		var q T
		c.hold(name, method, decode(body, &q))
	}
}

func beforeCreateNetwork(c *Checker, method string, body []byte) {
	var q createNetwork
	errs := []error{decode(body, &q)}
	if q.NetworkID == "" {
		errs = append(errs, errors.New("NetworkID is empty"))
	}
	for _, p := range q.IPv4Data {
		errs = append(errs, p.check(false))
	}
	for _, p := range q.IPv6Data {
		errs = append(errs, p.check(true))
	}
	c.hold(ruleNetwork, method, errs...)
	var order error
	if n := c.model.networks[q.NetworkID]; n != nil && !n.doubted && !c.model.again {
		order = fmt.Errorf("network %.12s is there", q.NetworkID)
	}
	c.hold(ruleNetworks, method, order)
}

// check checks a subnet of a network.
func (p poolData) check(six bool) error {
	if p.Pool == "" {
		return nil // the driver's to choose
	}
	subnet, err := cidr("Pool", p.Pool, six)
	if err != nil {
		return err
	}
	for what, text := range p.AuxAddresses {
		a, err := cidr("auxiliary address "+what, text, six)
		if err == nil && !subnet.Contains(a.Addr()) {
			err = fmt.Errorf("auxiliary address %s is not of %s", a, subnet)
		}
		if err != nil {
			return err
		}
	}
	if p.Gateway == "" {
		return nil
	}
	gateway, err := cidr("Gateway", p.Gateway, six)
	if err == nil && gateway.Bits() != subnet.Bits() && gateway.Bits() != gateway.Addr().BitLen() {
		err = fmt.Errorf("Gateway %s has another length than %s", gateway, subnet)
	}
	return err
}

func afterCreateNetwork(c *Checker, body, _ []byte) {
	var q createNetwork
	if decode(body, &q) != nil {
		return
	}
	n := &knownNetwork{endpoints: map[string]*knownEndpoint{}}
	if old := c.model.networks[q.NetworkID]; old != nil {
		n.endpoints = old.endpoints
	}
	for _, p := range slices.Concat(q.IPv4Data, q.IPv6Data) {
		if subnet, err := netip.ParsePrefix(p.Pool); err == nil {
			n.subnets = append(n.subnets, subnet)
		}
	}
	c.model.networks[q.NetworkID] = n
}

func beforeDeleteNetwork(c *Checker, method string, body []byte) {
	var q createNetwork
	err := decode(body, &q)
	n := c.model.networks[q.NetworkID]
	if err == nil && n == nil {
		err = fmt.Errorf("network %.12s is not there", q.NetworkID)
	}
	c.hold(ruleNetworks, method, err)
	if n != nil {
		var used error
		if len(n.endpoints) > 0 {
			used = fmt.Errorf("network %.12s has %d endpoints", q.NetworkID, len(n.endpoints))
		}
		c.hold(ruleInUse, method, used)
	}
}

func afterDeleteNetwork(c *Checker, body, _ []byte) {
	var q createNetwork
	if decode(body, &q) == nil {
		delete(c.model.networks, q.NetworkID)
	}
}

func beforeCreateEndpoint(c *Checker, method string, body []byte) {
	var q createEndpoint
	err := decode(body, &q)
	n := c.model.networks[q.NetworkID]
	var order error
	switch {
	case n == nil:
		order = fmt.Errorf("network %.12s is not there", q.NetworkID)
	case n.endpoints[q.EndpointID] != nil && !c.model.again:
		order = fmt.Errorf("endpoint %.12s is there", q.EndpointID)
	}
	c.hold(ruleEndpoints, method, order)
	if err == nil && q.EndpointID == "" {
		err = errors.New("EndpointID is empty")
	}
	if err == nil && q.Interface == nil {
		err = errors.New("Interface is missing")
	}
	if err != nil {
		c.hold(ruleEndpoint, method, err)
		return
	}
	var foreign []error
	for _, a := range []struct {
		what, text string
		six        bool
	}{{"Address", q.Interface.Address, false}, {"AddressIPv6", q.Interface.AddressIPv6, true}} {
		if a.text == "" {
			continue
		}
		p, bad := cidr(a.what, a.text, a.six)
		err = errors.Join(err, bad)
		if bad == nil && n != nil && len(n.subnets) > 0 && !slices.ContainsFunc(n.subnets, func(s netip.Prefix) bool { return s.Contains(p.Addr()) }) {
			foreign = append(foreign, fmt.Errorf("%s is of none of %v", p, n.subnets))
		}
	}
	if mac := q.Interface.MacAddress; mac != "" {
		if hw, bad := net.ParseMAC(mac); bad != nil || len(hw) != 6 {
			err = errors.Join(err, fmt.Errorf("MacAddress is %.60q", mac))
		}
	}
	c.hold(ruleEndpoint, method, err)
	c.hold(ruleAddresses, method, foreign...)
}

func afterCreateEndpoint(c *Checker, body, _ []byte) {
	var q createEndpoint
	if decode(body, &q) != nil {
		return
	}
	if n := c.model.networks[q.NetworkID]; n != nil {
		n.endpoints[q.EndpointID], n.doubted = &knownEndpoint{}, false
	}
}

func refusedEndpoint(c *Checker, body []byte) {
	var q createEndpoint
	if decode(body, &q) == nil && c.model.networks[q.NetworkID] != nil {
		c.model.networks[q.NetworkID].doubted = true
	}
}

// known is the endpoint that a call is about.
func (c *Checker) known(q endpointCall) (*knownEndpoint, error) {
	if n := c.model.networks[q.NetworkID]; n != nil && n.endpoints[q.EndpointID] != nil {
		return n.endpoints[q.EndpointID], nil
	}
	return nil, fmt.Errorf("endpoint %.12s of network %.12s is not there", q.EndpointID, q.NetworkID)
}

// onEndpoint judges a call about an endpoint that is there.
func onEndpoint(name string, more func(*knownEndpoint) error) func(*Checker, string, []byte) {
	return func(c *Checker, method string, body []byte) {
		var q endpointCall
		err := decode(body, &q)
		if err == nil {
			var e *knownEndpoint
			if e, err = c.known(q); err == nil && more != nil {
				err = more(e)
			}
		}
		c.hold(name, method, err)
	}
}

func hasJoined(e *knownEndpoint) error {
	if !e.joined {
		return errors.New("the endpoint is in no container")
	}
	return nil
}

func hasLeft(e *knownEndpoint) error {
	if e.joined {
		return errors.New("the endpoint is in a container")
	}
	return nil
}

func beforeJoin(c *Checker, method string, body []byte) {
	onEndpoint(ruleJoin, hasLeft)(c, method, body)
	var q endpointCall
	err := decode(body, &q)
	if err == nil && q.SandboxKey == "" {
		err = errors.New("SandboxKey is empty")
	}
	c.hold(ruleSandbox, method, err)
}

func joins(joined bool) func(*Checker, []byte, []byte) {
	return func(c *Checker, body, _ []byte) {
		var q endpointCall
		if decode(body, &q) != nil {
			return
		}
		if e, err := c.known(q); err == nil {
			e.joined = joined
		}
	}
}

func afterDeleteEndpoint(c *Checker, body, _ []byte) {
	var q endpointCall
	if decode(body, &q) == nil && c.model.networks[q.NetworkID] != nil {
		delete(c.model.networks[q.NetworkID].endpoints, q.EndpointID)
	}
}

func beforeDiscovery(c *Checker, method string, body []byte) {
	var q discovery
	err := decode(body, &q)
	if err == nil && (q.DiscoveryType != 1 || q.DiscoveryData.Address == "") {
		err = fmt.Errorf("it is of type %d, with address %q", q.DiscoveryType, q.DiscoveryData.Address)
	}
	c.hold(ruleDiscovery, method, err)
}
