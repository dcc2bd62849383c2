package main

import (
	"fmt"
	"strings"

	"github.com/linkspan/linkspan/internal/config"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/kernel/machine"
	"github.com/linkspan/linkspan/internal/networks"
	"github.com/linkspan/linkspan/internal/ops"
)

// maker returns what makes networks by the daemon's settings.
func maker(c config.Config) (ops.NetworkMaker, error) {
	defaults, err := networkDefaults(c.NetworkOptions)
	m := ops.NetworkMaker{
		Drivers:  drivers(c),
		Bases:    ipam.DefaultBases(),
		Host:     ops.HostSettings{Forward4: c.Forward, Forward6: c.Forward, Router: c.NoDrop},
		Defaults: defaults,
	}
	if len(c.Pools) > 0 {
		m.Bases = nil
		for _, p := range c.Pools {
			m.Bases = append(m.Bases, ipam.Base{Prefix: p.Base, Bits: p.Size})
		}
	}
	return m, err
}

// drivers returns the kinds of networks, as the daemon's settings have them.
func drivers(c config.Config) driver.Set {
	return all.With(all.Settings{Publish: driver.PublishPolicy(c.PublishPolicy), Respect: c.FirewallRespect, Plugins: true})
}

// bridgeSettings returns what the flags say of the network "bridge".
func bridgeSettings(c config.Config) networks.DefaultBridge {
	return networks.DefaultBridge{
		Bridge: c.Bridge, IPv6: c.IPv6, BIP: c.BIP, BIP6: c.BIP6, FixedCIDR: c.FixedCIDR, FixedCIDR6: c.FixedCIDR6,
		Gateway4: c.Gateway4, Gateway6: c.Gateway6, PublishIP: c.PublishIP,
		ICC: c.ICC, Masquerade: c.Masquerade, Names: c.BridgeDNS, MTU: c.MTU,
	}
}

// findDevice looks at the bridge that the default network is to have, if it is to
// have one. A user's has to be there.
func findDevice(b networks.DefaultBridge) (networks.Device, error) {
	name, users := b.Device()
	d := networks.Device{Users: users}
	if name == "" {
		return d, nil
	}
	var err error
	if d.Addrs, d.There, err = machine.InterfaceAddrs(name); err == nil && users && !d.There {
		err = fmt.Errorf("bridge device with non default name %s must be created manually", name)
	}
	return d, err
}

// networkDefaults returns the options that new networks of each driver begin
// with (--default-network-opt driver=key=value).
func networkDefaults(settings []string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for _, s := range settings {
		name, option, ok := strings.Cut(s, "=")
		key, value, ok2 := strings.Cut(option, "=")
		if !ok || !ok2 {
			return nil, fmt.Errorf("invalid default network option %q: write driver=key=value", s)
		}
		if out[name] == nil {
			out[name] = map[string]string{}
		}
		out[name][key] = value
	}
	return out, nil
}
