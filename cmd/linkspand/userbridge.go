package main

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/linkspan/linkspan/internal/config"
	"github.com/linkspan/linkspan/internal/model"
)

// onUserBridge returns the settings for a default network on the bridge of
// --bridge, which its user made: its subnets are those of the bridge's own
// addresses. A bridge without any gets them as docker0 would.
func onUserBridge(c config.Config) (config.Config, error) {
	if c.Bridge == "" || c.Bridge == "none" || c.Bridge == "docker0" {
		return c, nil
	}
	i, err := net.InterfaceByName(c.Bridge)
	if err != nil {
		return c, fmt.Errorf("bridge device with non default name %s must be created manually", c.Bridge)
	}
	list, err := i.Addrs()
	if err != nil {
		return c, fmt.Errorf("addresses of bridge %s: %w", c.Bridge, err)
	}
	var addrs []netip.Prefix
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, p)
		}
	}
	c.BIP = pick(addrs, c.FixedCIDR, model.IPv4)
	if c.IPv6 || c.FixedCIDR6.IsValid() {
		c.BIP6 = pick(addrs, c.FixedCIDR6, model.IPv6)
	}
	return c, nil
}

// pick returns the bridge's address of family f: the first one, or the one whose
// subnet the fixed range is in. Link-local addresses are on every interface and
// say nothing.
func pick(addrs []netip.Prefix, fixed netip.Prefix, f model.Family) netip.Prefix {
	var first netip.Prefix
	for _, p := range addrs {
		switch {
		case model.FamilyOf(p.Addr()) != f || p.Addr().Is6() && p.Addr().IsLinkLocalUnicast():
		case fixed.IsValid() && p.Contains(fixed.Addr()):
			return p
		case !first.IsValid():
			first = p
		}
	}
	return first
}
