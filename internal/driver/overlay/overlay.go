// Package overlay is the driver of networks that reach over hosts. On each host a network
// has a namespace of its own, which routes between the containers there and a VXLAN
// (RFC 7348) to the other hosts:
//
//	container: eth0 ──╮  veth…  ┌ ov-<network> ┐  vx4097 ═╗            ╔═ vx4097 ov-<network> of another host
//	container: eth0 ──┴─────────┤  routes      ├══════════╝ host's UDP ╝
//	                            └──────────────┘
//
// Nothing is bridged, flooded or learned. The namespace answers for all addresses of the
// subnet (proxy ARP, RFC 1027). Of each container elsewhere it knows one thing: an entry
// that says that its address has the MAC address of its host's VXLAN; and of each host to
// which address frames for that go. So an address that moves to another host is one entry
// changed, and what two networks have is apart because nothing leads from one namespace
// to another.
//
// It writes rows and performs no effect.
package overlay

import (
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// OptionVNIs names the networks' numbers in VXLAN packets (VNI), one for each subnet,
// separated by commas. The first is that of all.
const OptionVNIs = "com.docker.network.driver.overlay.vxlanid_list"

// usualWay is the MTU of a way between hosts that is not known yet.
const usualWay = 1500

// Driver is the overlay driver.
type Driver struct{}

// Name implements driver.Driver.
func (Driver) Name() string { return model.DriverOverlay }

// Traits implements driver.Driver.
func (Driver) Traits() driver.Traits {
	return driver.Traits{Addresses: true, Gateway: true, Interface: true, Names: true, Hosts: true}
}

// Namespace is the name of a network's namespace on each host.
func Namespace(id model.NetworkID) string { return model.OverlayNamespace(id) }

// VNI returns the number of a network in VXLAN packets. Errors are Invalid.
func VNI(n model.Network) (uint32, error) {
	first, _, _ := strings.Cut(n.Options[OptionVNIs], ",")
	v, err := strconv.ParseUint(first, 10, 24)
	if err != nil || v == 0 {
		return 0, model.Errorf(model.Invalid, "failed to parse %s value: %.64q (a VNI is a number from 1 to 16777215)", OptionVNIs, n.Options[OptionVNIs])
	}
	return uint32(v), nil
}

// MAC is the MAC address of all VXLANs of the host that receives their packets at an
// address. The hosts need not tell one another.
func MAC(vtep netip.Addr) string { return driver.MAC("vtep", vtep.String()) }

// Validate implements driver.Driver.
func (Driver) Validate(n model.Network, _ iter.Seq[model.Network]) error {
	if _, err := VNI(n); err != nil {
		return err
	}
	if _, err := driver.MTU(n); err != nil {
		return err
	}
	return driver.CheckPools(n)
}

// mtu is what a packet may have on the network, in bytes: as asked for, or what the way
// between the hosts leaves.
func mtu(v driver.View) (int, error) {
	asked, err := driver.MTU(v.Network)
	switch {
	case err != nil || asked != 0:
		return asked, err
	case v.Overlay.MTU != 0:
		return v.Overlay.MTU, nil
	}
	var to netip.Addr // as over IPv4
	size := usualWay - model.VXLANOverhead(to)
	if v.Network.Encrypted() {
		size -= model.WireGuardOverhead(to)
	}
	return size, nil
}

// Plan implements driver.Driver.
func (Driver) Plan(v driver.View) ([]desired.Row, error) {
	size, err := mtu(v)
	if err != nil {
		return nil, err
	}
	if v.Endpoint != nil {
		return planEndpoint(v, size)
	}
	rows := planNamespace(v.Network)
	if takesPart(v.Network, v.Overlay) {
		more, err := planTunnel(v, size)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return slices.Concat(rows, planServices(v), planPublished(v), planNames(v)), nil
}

// planNamespace plans where a network's packets are routed. It sends no redirects: all
// ways between containers lead through it. Whatever a container sends under an address
// that is not its own is dropped, by its interface's reverse path filter.
func planNamespace(n model.Network) []desired.Row {
	ns := Namespace(n.ID)
	rows := []desired.Row{
		desired.Namespace{Name: ns},
		desired.Sysctl{Namespace: ns, Path: "net/ipv4/ip_forward", Value: "1"},
		desired.Sysctl{Namespace: ns, Path: "net/ipv4/conf/all/send_redirects", Value: "0"},
		desired.Sysctl{Namespace: ns, Path: "net/ipv4/conf/all/rp_filter", Value: "0"},
	}
	if n.IPv6 {
		rows = append(rows,
			desired.Sysctl{Namespace: ns, Path: "net/ipv6/conf/all/forwarding", Value: "1"},
			desired.Sysctl{Namespace: ns, Path: "net/ipv6/conf/default/accept_dad", Value: "0"})
	}
	return rows
}

// link is the name of a network's VXLAN. Of a VXLAN nothing can be changed but made anew,
// and what was on it is gone then; so another one has another name.
func link(vni uint32, o facts.Overlay, home string) string {
	from := []string{o.Local.String(), strconv.Itoa(int(o.Port))}
	if home != desired.HostNamespace {
		from = append(from, home)
	}
	which := driver.IfName("", from...)[:4]
	return "vx" + strconv.FormatUint(uint64(vni), 10) + "-" + which
}

// home is the namespace in which a network's VXLAN is made, where its packets come and go.
func home(n model.Network) string {
	if n.Encrypted() {
		return TunnelNamespace
	}
	return desired.HostNamespace
}

// planTunnel plans the VXLAN. The gateway's address there makes the kernel route all of
// the subnet to it that is not here, and so answer for it.
func planTunnel(v driver.View, size int) ([]desired.Row, error) {
	vni, err := VNI(v.Network)
	if err != nil {
		return nil, err
	}
	home := home(v.Network)
	ns, name := Namespace(v.Network.ID), link(vni, v.Overlay, home)
	rows := []desired.Row{
		desired.Link{
			Namespace: ns, Name: name, Type: desired.LinkVXLAN, MTU: size, MAC: MAC(v.Overlay.Local),
			VXLAN: &desired.VXLAN{ID: vni, Port: v.Overlay.Port, Local: v.Overlay.Local, Home: home},
		},
		desired.Sysctl{Namespace: ns, Path: "net/ipv4/conf/" + name + "/send_redirects", Value: "0"},
		desired.Sysctl{Namespace: ns, Path: "net/ipv4/conf/" + name + "/rp_filter", Value: "0"},
		ipv6Of(ns, name, v.Network),
	}
	for _, p := range v.Network.IPAM.Pools {
		if !v.Network.Enabled(model.FamilyOf(p.Subnet.Addr())) {
			continue
		}
		if p.Gateway.IsValid() {
			rows = append(rows, desired.Addr{Namespace: ns, Link: name, Prefix: netip.PrefixFrom(p.Gateway, p.Subnet.Bits())})
			continue
		}
		rows = append(rows, desired.Route{Namespace: ns, Link: name, Destination: p.Subnet.Masked()})
	}
	return slices.Concat(rows, planRemotes(v, ns, name), planWays(v, name)), nil
}

// ipv6Of switches IPv6 of an interface on or off.
func ipv6Of(ns, name string, n model.Network) desired.Row {
	row := desired.Sysctl{Namespace: ns, Path: driver.DisableIPv6(name), Value: "1"}
	if n.IPv6 {
		row.Value = "0"
	}
	return row
}

// planRemotes plans the ways to containers on other hosts.
func planRemotes(v driver.View, ns, name string) []desired.Row {
	var rows []desired.Row
	var hosts []netip.Addr
	for _, r := range v.Overlay.Remotes {
		if r.VTEP == v.Overlay.Local || !r.VTEP.IsValid() {
			continue
		}
		mac := MAC(r.VTEP)
		if !slices.Contains(hosts, r.VTEP) {
			hosts = append(hosts, r.VTEP)
			rows = append(rows, desired.FDB{Namespace: ns, Link: name, MAC: mac, Remote: r.VTEP})
		}
		for _, a := range r.Addrs {
			if _, ok := v.Network.PoolOf(a); ok {
				rows = append(rows, desired.Neigh{Namespace: ns, Link: name, IP: a, MAC: mac})
			}
		}
	}
	return rows
}

// planNames plans what containers on other hosts answer to.
func planNames(v driver.View) (rows []desired.Row) {
	for _, r := range v.Overlay.Remotes {
		rows = append(rows, driver.Elsewhere(r).NameRows(v.Network)...)
	}
	return rows
}
