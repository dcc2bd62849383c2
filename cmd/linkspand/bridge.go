package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/linkspan/linkspan/internal/config"
	"github.com/linkspan/linkspan/internal/driver/bridge"
	"github.com/linkspan/linkspan/internal/model"
)

// standardBridge is the device of the default network unless the user names
// another with --bridge.
const standardBridge = "docker0"

// device is the default network's bridge as the daemon finds it.
type device struct {
	name  string
	users bool // the user made it, for us to use: its addresses are his
	there bool
	addrs []netip.Prefix // in the kernel's order
}

// findDevice looks at the bridge that the default network is to have, if it is to
// have one. A user's has to be there.
func findDevice(c config.Config) (device, error) {
	d := device{name: standardBridge}
	if c.Bridge == "none" {
		return d, nil
	}
	if c.Bridge != "" && c.Bridge != standardBridge {
		d.name, d.users = c.Bridge, true
	}
	i, err := net.InterfaceByName(d.name)
	if err != nil && d.users {
		return d, fmt.Errorf("bridge device with non default name %s must be created manually", d.name)
	}
	if err != nil {
		return d, nil
	}
	d.there = true
	list, err := i.Addrs()
	if err != nil {
		return d, fmt.Errorf("addresses of bridge %s: %w", d.name, err)
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			d.addrs = append(d.addrs, p)
		}
	}
	return d, nil
}

// errOutside refuses a range that no address of a user's bridge has room for.
var errOutside = errors.New("is outside any subnet implied by addresses on the user-managed default bridge")

// settle returns the settings for a default network on d, whose subnets are those
// of the device's addresses where --bip does not say other. A device without any
// leaves them open. ignored names the settings that make no sense there, and are
// passed over as dockerd does.
func (d device) settle(c config.Config) (out config.Config, ignored error, err error) {
	if !c.BIP.IsValid() {
		c.BIP = pick(d.addrs, c.FixedCIDR, model.IPv4)
	}
	if !c.BIP6.IsValid() && (c.IPv6 || c.FixedCIDR6.IsValid()) {
		c.BIP6 = pick(d.addrs, c.FixedCIDR6, model.IPv6)
	}
	if !d.users {
		c.BIP, c.BIP6 = widen(c.BIP, c.FixedCIDR), widen(c.BIP6, c.FixedCIDR6)
		return c, nil, nil
	}
	if outside(c.BIP, c.FixedCIDR) { // was allowed by every version of dockerd
		ignored = fmt.Errorf("fixed-cidr=%s %w", c.FixedCIDR, errOutside)
		c.FixedCIDR = netip.Prefix{}
	}
	if outside(c.BIP6, c.FixedCIDR6) {
		return c, ignored, fmt.Errorf("fixed-cidr-v6=%s %w", c.FixedCIDR6, errOutside)
	}
	return c, ignored, nil
}

// outside tells whether the addresses of fixed are not all in the subnet of bip.
func outside(bip, fixed netip.Prefix) bool {
	return bip.IsValid() && fixed.IsValid() && (!bip.Contains(fixed.Addr()) || fixed.Bits() < bip.Bits())
}

// widen fits the address of a bridge of ours to the range that is asked for now: it
// stays if the range begins in its subnet, which grows if that is smaller than the
// range; else it goes.
func widen(bip, fixed netip.Prefix) netip.Prefix {
	switch {
	case !bip.IsValid() || !fixed.IsValid():
		return bip
	case !bip.Contains(fixed.Addr()):
		return netip.Prefix{}
	}
	return netip.PrefixFrom(bip.Addr(), min(bip.Bits(), fixed.Bits()))
}

// pick returns the bridge's address of family f: the one whose subnet the fixed
// range is in, else one that is in the range itself, else the first. Link-local
// addresses are on every interface and say nothing, unless they are what the range
// is of.
func pick(addrs []netip.Prefix, fixed netip.Prefix, f model.Family) netip.Prefix {
	var best netip.Prefix
	for _, p := range addrs {
		switch own := bridge.LinkLocal.Contains(p.Addr()); {
		case model.FamilyOf(p.Addr()) != f || own && !(fixed.IsValid() && bridge.LinkLocal.Contains(fixed.Addr())):
		case fixed.IsValid() && p.Contains(fixed.Addr()):
			return p
		case !best.IsValid(), fixed.IsValid() && fixed.Contains(p.Addr()) && !fixed.Contains(best.Addr()):
			best = p
		}
	}
	return best
}
