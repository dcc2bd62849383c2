package main

import (
	"fmt"
	"net"

	"github.com/docker/go-plugins-helpers/network"
	"github.com/vishvananda/netlink"
)

// driver is the network driver. All that it knows is in the kernel: names follow from IDs.
type driver struct{}

func bridgeOf(id string) string { return "wb-" + short(id) }
func hostEnd(id string) string  { return "wh-" + short(id) }
func farEnd(id string) string   { return "wf-" + short(id) }

func short(id string) string { return id[:min(len(id), 12)] }

// GetCapabilities implements network.Driver.
func (driver) GetCapabilities() (*network.CapabilitiesResponse, error) {
	return &network.CapabilitiesResponse{Scope: network.LocalScope, ConnectivityScope: network.LocalScope}, nil
}

// CreateNetwork implements network.Driver.
func (driver) CreateNetwork(r *network.CreateNetworkRequest) error {
	if r.NetworkID == "" {
		return fmt.Errorf("a network has an ID")
	}
	var gateways []*netlink.Addr
	for _, p := range append(r.IPv4Data, r.IPv6Data...) {
		a, err := netlink.ParseAddr(p.Gateway)
		if err != nil {
			return fmt.Errorf("gateway %q: %w", p.Gateway, err)
		}
		gateways = append(gateways, a)
	}
	b := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeOf(r.NetworkID)}}
	if err := netlink.LinkAdd(b); err != nil {
		return fmt.Errorf("make bridge: %w", err)
	}
	for _, a := range gateways {
		if err := netlink.AddrAdd(b, a); err != nil {
			return fmt.Errorf("gateway %s: %w", a, err)
		}
	}
	return netlink.LinkSetUp(b)
}

// DeleteNetwork implements network.Driver.
func (driver) DeleteNetwork(r *network.DeleteNetworkRequest) error {
	b, err := netlink.LinkByName(bridgeOf(r.NetworkID))
	if err != nil {
		return err
	}
	return netlink.LinkDel(b)
}

// CreateEndpoint implements network.Driver.
func (driver) CreateEndpoint(r *network.CreateEndpointRequest) (*network.CreateEndpointResponse, error) {
	b, err := netlink.LinkByName(bridgeOf(r.NetworkID))
	if err != nil {
		return nil, err
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: hostEnd(r.EndpointID), MasterIndex: b.Attrs().Index}, PeerName: farEnd(r.EndpointID)}
	if r.Interface != nil && r.Interface.MacAddress != "" {
		if pair.PeerHardwareAddr, err = net.ParseMAC(r.Interface.MacAddress); err != nil {
			return nil, err
		}
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("make veth pair: %w", err)
	}
	if err := netlink.LinkSetUp(pair); err != nil {
		return nil, err
	}
	out := &network.EndpointInterface{}
	if r.Interface == nil || r.Interface.MacAddress == "" {
		far, err := netlink.LinkByName(farEnd(r.EndpointID))
		if err != nil {
			return nil, err
		}
		out.MacAddress = far.Attrs().HardwareAddr.String()
	}
	return &network.CreateEndpointResponse{Interface: out}, nil
}

// DeleteEndpoint implements network.Driver. The pair may have ended with the container's
// namespace.
func (driver) DeleteEndpoint(r *network.DeleteEndpointRequest) error {
	if l, err := netlink.LinkByName(hostEnd(r.EndpointID)); err == nil {
		return netlink.LinkDel(l)
	}
	return nil
}

// EndpointInfo implements network.Driver.
func (driver) EndpointInfo(r *network.InfoRequest) (*network.InfoResponse, error) {
	l, err := netlink.LinkByName(hostEnd(r.EndpointID))
	if err != nil {
		return nil, err
	}
	return &network.InfoResponse{Value: map[string]string{"host.interface": l.Attrs().Name}}, nil
}

// Join implements network.Driver.
func (driver) Join(r *network.JoinRequest) (*network.JoinResponse, error) {
	if _, err := netlink.LinkByName(hostEnd(r.EndpointID)); err != nil {
		return nil, err
	}
	b, err := netlink.LinkByName(bridgeOf(r.NetworkID))
	if err != nil {
		return nil, err
	}
	addrs, err := netlink.AddrList(b, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	out := &network.JoinResponse{InterfaceName: network.InterfaceName{SrcName: farEnd(r.EndpointID), DstPrefix: "eth"}}
	if len(addrs) > 0 {
		out.Gateway = addrs[0].IP.String()
	}
	return out, nil
}

// Leave implements network.Driver.
func (driver) Leave(*network.LeaveRequest) error { return nil }

// AllocateNetwork implements network.Driver.
func (driver) AllocateNetwork(*network.AllocateNetworkRequest) (*network.AllocateNetworkResponse, error) {
	return &network.AllocateNetworkResponse{}, nil
}

// FreeNetwork implements network.Driver.
func (driver) FreeNetwork(*network.FreeNetworkRequest) error { return nil }

// DiscoverNew implements network.Driver.
func (driver) DiscoverNew(*network.DiscoveryNotification) error { return nil }

// DiscoverDelete implements network.Driver.
func (driver) DiscoverDelete(*network.DiscoveryNotification) error { return nil }

// ProgramExternalConnectivity implements network.Driver.
func (driver) ProgramExternalConnectivity(*network.ProgramExternalConnectivityRequest) error {
	return nil
}

// RevokeExternalConnectivity implements network.Driver.
func (driver) RevokeExternalConnectivity(*network.RevokeExternalConnectivityRequest) error {
	return nil
}
