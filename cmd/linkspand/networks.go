package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/config"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/driver/bridge"
	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// maker returns what makes networks by the daemon's settings.
func maker(c config.Config) (ops.NetworkMaker, error) {
	defaults, err := networkDefaults(c.NetworkOptions)
	m := ops.NetworkMaker{
		Drivers:  all.Drivers(),
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

// predefine returns the op that makes the networks that are always there. found is
// the default network's bridge as it was before the engine had a hand in it. first
// says that there is no such network yet: then it begins with the addresses of a
// bridge that somebody made; later they follow what is stored. ignored names the
// settings that are passed over.
func predefine(c config.Config, m ops.NetworkMaker, found device, first bool) (op ops.Op, ignored, err error) {
	if found.users || first {
		if c, ignored, err = found.settle(c); err != nil {
			return nil, nil, err
		}
	}
	m.Renumber = !found.there && len(c.Pools) > 0
	host := predefined(model.NetworkHost, model.DriverHost)
	none := predefined(model.NetworkNone, model.DriverNull)
	return ops.All(ops.SetHost(m.Host), m.Predefine(defaultBridge(c), host, none)), ignored, nil
}

func predefined(name, driverName string) model.Network {
	id := make([]byte, 32)
	rand.Read(id)
	return model.Network{
		ID: model.NetworkID(hex.EncodeToString(id)), Name: name, Driver: driverName, Scope: "local",
		Created: time.Now().UTC(), IPv4: true, IPAM: model.IPAM{Driver: "default"},
	}
}

// defaultBridge returns the network "bridge" as the flags describe it; one
// without a name if there shall be none.
func defaultBridge(c config.Config) model.Network {
	if c.Bridge == "none" {
		return model.Network{}
	}
	n := predefined(model.NetworkBridge, model.DriverBridge)
	n.IPv6 = c.IPv6 || c.BIP6.IsValid() || c.FixedCIDR6.IsValid()
	device := standardBridge
	if c.Bridge != "" {
		device = c.Bridge
	}
	hostIP := "0.0.0.0"
	if c.PublishIP.IsValid() {
		hostIP = c.PublishIP.String()
	}
	n.Options = map[string]string{
		bridge.OptionDefault:    "true",
		bridge.OptionICC:        strconv.FormatBool(c.ICC),
		bridge.OptionMasquerade: strconv.FormatBool(c.Masquerade),
		bridge.OptionHostIP:     hostIP,
		bridge.OptionName:       device,
		driver.OptionMTU:        strconv.Itoa(c.MTU),
	}
	if c.BridgeDNS {
		n.Options[model.OptionNames] = "true"
	}
	for _, pool := range []model.Pool{bridgePool(c.BIP, c.FixedCIDR, c.Gateway4), bridgePool(c.BIP6, c.FixedCIDR6, c.Gateway6)} {
		if pool.Subnet.IsValid() {
			n.IPAM.Pools = append(n.IPAM.Pools, pool)
		}
	}
	return n
}

// bridgePool returns the pool that --bip, --fixed-cidr and --default-gateway
// describe in one family; without a subnet if none of them was given. A gateway
// alone leaves it open which subnet it is in.
func bridgePool(bip, fixed netip.Prefix, via netip.Addr) model.Pool {
	var p model.Pool
	switch {
	case bip.IsValid():
		p.Subnet, p.Gateway = bip.Masked(), bip.Addr()
		if fixed.IsValid() {
			p.Range = fixed.Masked()
		}
	case fixed.IsValid():
		p.Subnet, p.Range = fixed.Masked(), fixed.Masked()
	case via.IsValid():
		p.Subnet = netip.PrefixFrom(via, 0).Masked()
	}
	if via.IsValid() {
		p.Aux = map[string]netip.Addr{gateway.AuxKey(model.FamilyOf(via)): via}
	}
	return p
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
