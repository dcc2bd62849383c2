package bridge

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/firewall"
	"github.com/linkspan/linkspan/internal/model"
)

// A network with an uplink (driver.OptionUplink) is a part of the LAN: its bridge passes
// frames on between containers and the interface, and the host itself is not there. It has
// no address on the bridge, hears nothing of it, and neither routes nor translates.
//
//	host:  eth1 ── br-… ── veth…  ╎  eth0  :container, an address of the LAN
//
// What a container may say is decided at its port as on any bridge; but by default NET_ADMIN
// frees nobody there, since neighbours on a LAN are not known.

// Uplink implements driver.Uplinked.
func (Driver) Uplink(n model.Network) string { return n.Options[driver.OptionUplink] }

// Parent implements driver.Parented: an uplink that is a VLAN is made if it is missing.
func (d Driver) Parent(n model.Network) string { return d.Uplink(n) }

// OwnMAC implements driver.Parented.
func (Driver) OwnMAC(model.Network) bool { return true }

// Settle implements driver.Settler.
func (d Driver) Settle(n model.Network, host facts.Host) (model.Network, error) {
	uplink, given := n.Options[driver.OptionUplink]
	if !given {
		return n, nil
	}
	if uplink == "" {
		return n, badUplink(uplink, "it is empty")
	}
	if err := driver.CheckParent(driverName, uplink, host); err != nil {
		return n, fmt.Errorf("invalid uplink: %w", err)
	}
	if n.Internal {
		return n, badUplink(uplink, "an internal network leads nowhere")
	}
	for _, o := range []string{
		OptionICC, OptionMasquerade, OptionInhibit, OptionGatewayMode4, OptionGatewayMode6, OptionHostBinding, OptionTrusted,
		driver.OptionPublish, driver.OptionRespect, driver.OptionSource4, driver.OptionSource6,
	} {
		if value, given := n.Options[o]; given && !slices.Contains(harmless(o), value) {
			return n, badUplink(uplink, fmt.Sprintf("%s=%s says how the host leads to containers, or keeps them apart, and here it does neither", o, value))
		}
	}
	return n, nil
}

// harmless are values of an option that say what holds with an uplink anyway.
func harmless(option string) []string {
	switch option {
	case OptionICC:
		return []string{"true", "1"}
	case OptionMasquerade:
		return []string{"false", "0"}
	case OptionInhibit:
		return []string{"true", "1"}
	}
	return nil
}

func badUplink(value, why string) error {
	return &model.Error{Op: "network.create", Kind: model.Invalid, Err: fmt.Errorf("invalid %s value: %q", driver.OptionUplink, value), Who: why,
		Way: "on a bridge with an uplink containers are machines of the LAN: leave one of the two out"}
}

// checkUplink refuses an interface that another network has.
func checkUplink(n model.Network, others iter.Seq[model.Network]) error {
	if uplink := n.Options[driver.OptionUplink]; uplink != "" {
		return driver.CheckTaken(n, uplink, others)
	}
	return nil
}

// planUplinked returns the rows of a network with an uplink.
func planUplinked(c config, n model.Network) []desired.Row {
	conf := "net/ipv4/conf/" + c.bridge + "/"
	rows := []desired.Row{
		desired.Link{Name: c.bridge, Type: desired.LinkBridge, MTU: c.mtu, MAC: driver.BridgeMAC(n.ID)},
		desired.Sysctl{Path: driver.DisableIPv6(c.bridge), Value: "1"},
		// What the fence does, where the kernel has none (kernel: ip-sysctl).
		desired.Sysctl{Path: conf + "arp_ignore", Value: "8"},
		desired.Sysctl{Path: conf + "forwarding", Value: "0"},
		desired.Fence{Link: c.bridge, Closed: true},
		desired.Uplink{Link: c.uplink, Bridge: c.bridge},
	}
	rows = append(rows, identity(c, n, nil)...)
	return append(rows, firewall.Network(firewall.Border{Bridge: c.bridge, Internal: true, ICC: true})...)
}

// lanSettings are those of an interface with IPv6 on a LAN. Its addresses are those that its
// port may use: the kernel makes none by itself of what routers say.
func lanSettings(v driver.View) []desired.Row {
	rows := driver.LANSettings(v)
	if len(rows) == 0 {
		return nil
	}
	return append(rows, desired.Sysctl{
		Namespace: model.NamespaceOf(v.Sandbox.Container), Path: "net/ipv6/conf/" + v.Endpoint.Interface + "/autoconf", Value: "0",
	})
}

// mtu returns that of an endpoint's interface in bytes: what the network has, or what came
// with its lease; 0 is the kernel's default.
func mtu(c config, e model.Endpoint) int {
	if c.uplink == "" {
		return c.mtu
	}
	return cmp.Or(c.mtu, driver.LeasedMTU(e))
}

// LeaseDevice implements driver.Leaser.
func (d Driver) LeaseDevice(n model.Network) (string, error) {
	if d.Uplink(n) == "" {
		return "", driver.NoLeases("a bridge network is the host's own, where no DHCP server is",
			"name an interface that leads to the server: -o "+driver.OptionUplink+"=eth1, or share the host's: -d macvlan -o parent=eth0")
	}
	return d.Uplink(n), nil
}
