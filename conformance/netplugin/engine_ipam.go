package netplugin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

func afterIPAMCapabilities(c *Checker, _, answer []byte) {
	var said struct{ RequiresMACAddress bool }
	if decode(answer, &said) == nil {
		c.model.needsMAC = said.RequiresMACAddress
	}
}

func afterSpaces(c *Checker, _, answer []byte) {
	var said struct{ LocalDefaultAddressSpace, GlobalDefaultAddressSpace string }
	if decode(answer, &said) == nil {
		c.model.spaces = []string{said.LocalDefaultAddressSpace, said.GlobalDefaultAddressSpace}
	}
}

func beforeRequestPool(c *Checker, method string, body []byte) {
	var q requestPool
	errs := []error{decode(body, &q)}
	if q.AddressSpace == "" {
		errs = append(errs, errors.New("AddressSpace is empty"))
	}
	switch {
	case q.Pool == "" && q.SubPool != "":
		errs = append(errs, fmt.Errorf("SubPool %.60q is of no Pool", q.SubPool))
	case q.Pool != "":
		subnet, err := cidr("Pool", q.Pool, q.V6)
		errs = append(errs, err)
		if err == nil && q.SubPool != "" {
			part, err := cidr("SubPool", q.SubPool, q.V6)
			if err == nil && (part.Bits() < subnet.Bits() || !subnet.Contains(part.Addr())) {
				err = fmt.Errorf("SubPool %s is no part of %s", part, subnet)
			}
			errs = append(errs, err)
		}
	}
	c.hold(rulePool, method, errs...)
	var space error
	if !slices.Contains(c.model.spaces, q.AddressSpace) {
		space = fmt.Errorf("AddressSpace %q is none of %q", q.AddressSpace, c.model.spaces)
	}
	c.hold(ruleSpace, method, space)
}

func afterRequestPool(c *Checker, _, answer []byte) {
	var a poolAnswer
	if decode(answer, &a) != nil {
		return
	}
	subnet, err := netip.ParsePrefix(a.Pool)
	if err != nil {
		return // the plugin's fault, and the engine may give it back or not
	}
	p := c.model.pools[a.PoolID]
	if p == nil {
		p = &knownPool{subnet: subnet, taken: map[netip.Addr]bool{}}
		c.model.pools[a.PoolID] = p
	}
	p.references++
}

// pool is what a call is about.
func (c *Checker) pool(method string, body []byte) (q poolCall, p *knownPool) {
	err := decode(body, &q)
	if p = c.model.pools[q.PoolID]; err == nil && p == nil {
		err = fmt.Errorf("pool %.60q was not given", q.PoolID)
	}
	c.hold(rulePools, method, err)
	return q, p
}

func beforeReleasePool(c *Checker, method string, body []byte) {
	_, p := c.pool(method, body)
	if p == nil || p.references > 1 {
		return
	}
	var err error
	if len(p.taken) > 0 {
		err = fmt.Errorf("%d addresses of %s are not released", len(p.taken), p.subnet)
	}
	c.hold(ruleEmptyPools, method, err)
}

func afterReleasePool(c *Checker, body, _ []byte) {
	var q poolCall
	if decode(body, &q) != nil || c.model.pools[q.PoolID] == nil {
		return
	}
	p := c.model.pools[q.PoolID]
	if p.references--; p.references == 0 {
		delete(c.model.pools, q.PoolID)
	}
}

func beforeRequestAddress(c *Checker, method string, body []byte) {
	q, p := c.pool(method, body)
	var err error
	if q.Address != "" {
		a, bad := netip.ParseAddr(q.Address)
		switch {
		case bad != nil:
			err = fmt.Errorf("Address %.60q is none", q.Address)
		case p != nil && !p.subnet.Contains(a):
			err = fmt.Errorf("Address %s is not of %s", a, p.subnet)
		}
	}
	c.hold(ruleAddress, method, err)
	if c.model.needsMAC && q.Options[optionAddressType] == "" && q.Address == "" {
		var missing error
		if mac, err := net.ParseMAC(q.Options[optionMAC]); err != nil || len(mac) != 6 {
			missing = fmt.Errorf("option %s is %q", optionMAC, q.Options[optionMAC])
		}
		c.hold(ruleMAC, method, missing)
	}
}

func afterRequestAddress(c *Checker, body, answer []byte) {
	var q poolCall
	var a addressAnswer
	if decode(body, &q) != nil || decode(answer, &a) != nil {
		return
	}
	if got, err := netip.ParsePrefix(a.Address); err == nil && c.model.pools[q.PoolID] != nil {
		c.model.pools[q.PoolID].taken[got.Addr()] = true
	}
}

func beforeReleaseAddress(c *Checker, method string, body []byte) {
	q, p := c.pool(method, body)
	if p == nil {
		return
	}
	a, err := netip.ParseAddr(q.Address)
	if err != nil || !p.taken[a] {
		err = fmt.Errorf("address %.60q of %s was not given", q.Address, p.subnet)
	}
	c.hold(ruleRelease, method, err)
}

func afterReleaseAddress(c *Checker, body, _ []byte) {
	var q poolCall
	if decode(body, &q) != nil || c.model.pools[q.PoolID] == nil {
		return
	}
	if a, err := netip.ParseAddr(q.Address); err == nil {
		delete(c.model.pools[q.PoolID].taken, a)
	}
}
