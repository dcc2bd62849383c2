// Package bridge is the driver of bridge networks: a Linux bridge on the host,
// and for each endpoint a veth pair from the bridge into the container.
//
//	host:  docker0 ── veth…  ╎  eth0  :container
//
// It writes rows and performs no effect.
package bridge

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/firewall"
	"github.com/linkspan/linkspan/internal/model"
)

// Option keys of the driver.
const (
	OptionName       = "com.docker.network.bridge.name"
	OptionICC        = "com.docker.network.bridge.enable_icc"
	OptionMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
	OptionDefault    = "com.docker.network.bridge.default_bridge"
	OptionInhibit    = "com.docker.network.bridge.inhibit_ipv4"
)

// OwnAddress returns the link-local address that the kernel gives a bridge of ours:
// the one that follows from its MAC address (RFC 4291, appendix A).
func OwnAddress(n model.Network) netip.Addr {
	a, _ := firewall.LinkLocalOf(driver.BridgeMAC(n.ID)) // a computed one is a MAC address
	return a
}

// linkLocal is on every bridge with IPv6, so that containers have a gateway
// address that does not depend on the subnet.
var linkLocal = netip.MustParsePrefix("fe80::1/64")

// driverName is what users call it, and networks of it are stored with.
const driverName = "bridge"

// Driver is the bridge driver.
type Driver struct {
	// Policy is the publish policy of networks that do not say (--publish-policy).
	Policy driver.PublishPolicy
	// Respect is whose firewall judges published ports of such networks
	// (--firewall-respect): driver.RespectHost, or empty.
	Respect string
}

// Name implements driver.Driver.
func (Driver) Name() string { return driverName }

// Traits implements driver.Driver.
func (Driver) Traits() driver.Traits {
	return driver.Traits{Addresses: true, Gateway: true, Interface: true, Names: true, OnePool: true}
}

// config is a network's options, parsed.
type config struct {
	bridge     string
	adopt      bool
	mtu        int
	packets    int // as asked for, in bytes; 0 leaves it to packetSizes
	icc        bool
	masquerade bool
	inhibit    bool // the bridge gets no IPv4 address
	publishing publishing
	sources    map[model.Family]netip.Addr // under which its traffic leaves, if not the route's
	uplink     string                      // see driver.OptionUplink; empty: none
}

// Name returns the bridge device of a network.
func Name(n model.Network) string {
	if name := n.Options[OptionName]; name != "" {
		return name
	}
	return "br-" + model.Short(n.ID)
}

func parse(n model.Network) (config, error) {
	c := config{bridge: Name(n), icc: true, masquerade: true, uplink: n.Options[driver.OptionUplink]}
	if !driver.ValidInterface(c.bridge) {
		return c, model.Errorf(model.Invalid, "invalid bridge name %.32q: a network interface's name has at most 15 characters, and no slashes, colons, percent signs and spaces", c.bridge)
	}
	isDefault := false // says nothing that the network's name does not
	for _, o := range []struct {
		key string
		to  *bool
	}{{OptionICC, &c.icc}, {OptionMasquerade, &c.masquerade}, {OptionInhibit, &c.inhibit}, {OptionDefault, &isDefault}} {
		text, given := n.Options[o.key]
		if !given {
			continue
		}
		value, err := strconv.ParseBool(text)
		if err != nil {
			return c, model.Errorf(model.Invalid, "failed to parse %s value: %v (%s)", o.key, text, err)
		}
		*o.to = value
	}
	var err error
	if c.publishing, err = publishingOf(n); err != nil {
		return c, err
	}
	if c.packets, err = packetOption(n); err != nil {
		return c, err
	}
	if c.sources, err = driver.Sources(n); err != nil {
		return c, err
	}
	c.mtu, err = driver.MTU(n)
	c.adopt = n.Options[OptionName] != "" && c.uplink == ""
	return c, err
}

// NeedsGateway implements driver.GatewayChooser: where the host is not on the
// network, or nothing leads out by way of it, there is none. With an uplink it is a machine
// of the LAN, which the user names.
func (Driver) NeedsGateway(n model.Network, f model.Family) (bool, error) {
	c, err := parse(n)
	if err != nil {
		return false, err
	}
	return c.uplink == "" && c.publishing.mode(f) != modeIsolated && !(f == model.IPv4 && c.inhibit && n.Internal), nil
}

// Validate implements driver.Driver.
func (Driver) Validate(n model.Network, others iter.Seq[model.Network]) error {
	if _, err := parse(n); err != nil {
		return err
	}
	if err := driver.CheckPools(n); err != nil {
		return err
	}
	if err := checkUplink(n, others); err != nil {
		return err
	}
	for other := range others {
		if other.Driver != driverName || other.ConfigOnly || other.ID == n.ID {
			continue
		}
		if why := conflict(n, other); why != "" {
			return model.Errorf(model.Forbidden, "cannot create network %s (%s): conflicts with network %s (%s): %s",
				n.ID, Name(n), other.ID, Name(other), why)
		}
	}
	return nil
}

// conflict says in Docker's words why two bridge networks cannot both exist.
func conflict(a, b model.Network) string {
	if Name(a) == Name(b) {
		return "networks have same bridge name"
	}
	for _, f := range model.Families {
		p, okA := a.Pool(f)
		q, okB := b.Pool(f)
		if okA && okB && p.Subnet.Overlaps(q.Subnet) {
			return fmt.Sprintf("networks have overlapping IPv%d", f)
		}
	}
	return ""
}

// Plan implements driver.Driver.
func (d Driver) Plan(v driver.View) ([]desired.Row, error) {
	c, err := parse(v.Network)
	if err != nil {
		return nil, err
	}
	if v.Endpoint != nil {
		return planEndpoint(c, v)
	}
	if c.uplink != "" {
		return planUplinked(c, v.Network), nil
	}
	rows := []desired.Row{desired.Link{
		Name: c.bridge, Type: desired.LinkBridge, MTU: c.mtu, Adopt: c.adopt,
		MAC: driver.BridgeMAC(v.Network.ID), Packets: hostPackets(c, v),
	}}
	border := firewall.Border{Bridge: c.bridge, Internal: v.Network.Internal, ICC: c.icc, IPv4: v.Network.IPv4}
	for _, f := range model.Families {
		pool, ok := v.Network.Pool(f)
		if !ok || !v.Network.Enabled(f) {
			continue
		}
		border.Subnets = append(border.Subnets, pool.Subnet.Masked())
		mode := c.publishing.mode(f)
		if v.DirectRouting || mode == modeUnprotected || mode == modeRouted {
			border.Direct = append(border.Direct, f)
		}
		if d.socket(c.publishing) && mode != modeRouted {
			border.Sockets = append(border.Sockets, f)
		}
		if pool.Gateway.IsValid() && mode != modeIsolated && !(f == model.IPv4 && c.inhibit) {
			rows = append(rows, desired.Addr{Link: c.bridge, Prefix: netip.PrefixFrom(pool.Gateway, pool.Subnet.Bits())})
		}
		if c.masquerade && mode != modeRouted {
			border.Masquerade = append(border.Masquerade, firewall.Masquerade{Subnet: pool.Subnet, Source: c.sources[f]})
		}
	}
	ipv6 := v.Network.IPv6 && c.publishing.mode6 != modeIsolated
	rows = append(rows, familySysctls(c.bridge, ipv6)...)
	// On a network whose subnet is the link's own the gateway may be this address.
	if own := (desired.Addr{Link: c.bridge, Prefix: linkLocal}); ipv6 && !slices.Contains(rows, desired.Row(own)) {
		rows = append(rows, own)
	}
	if f := firewall.Fence(border); f.Localhost || len(f.Inside) > 0 {
		rows = append(rows, f)
	}
	if v.Network.IPv4 && !v.Network.Internal && v.Forward {
		rows = append(rows, forwarding(c.bridge))
	}
	rows = append(rows, identity(c, v.Network, rows)...)
	return append(rows, firewall.Network(border)...), nil
}

// forwarding lets the host forward what comes from the bridge (kernel: ip-sysctl,
// conf/interface/forwarding). It follows ip_forward when that is written, and can be
// switched off by itself.
func forwarding(bridge string) desired.Row {
	return desired.Sysctl{Path: "net/ipv4/conf/" + bridge + "/forwarding", Value: "1"}
}

// familySysctls sets up the host's side of the bridge: the engine never learns
// routes from a container's router advertisements, and a bridge without IPv6
// does not speak it.
func familySysctls(bridge string, ipv6 bool) []desired.Row {
	if !ipv6 {
		return []desired.Row{desired.Sysctl{Path: "net/ipv6/conf/" + bridge + "/disable_ipv6", Value: "1"}}
	}
	set := func(name, value string) desired.Row {
		return desired.Sysctl{Path: "net/ipv6/conf/" + bridge + "/" + name, Value: value}
	}
	return []desired.Row{
		set("accept_ra", "0"), set("accept_dad", "0"), set("disable_ipv6", "0"),
	}
}

// GatewayOptions implements driver.GatewayMaker: containers have nothing to do with one another
// there.
func (Driver) GatewayOptions(device string) map[string]string {
	return map[string]string{OptionName: device, OptionICC: "false", OptionMasquerade: "true"}
}
