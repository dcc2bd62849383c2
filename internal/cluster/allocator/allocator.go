// Package allocator gives networks of the swarm their subnets and VNIs, and what is on
// them its addresses: swarmkit's provider of networks.
//
//	swarmkit's allocator (on the leader) ─▶ Allocate       subnet, gateway, VNI of a network
//	                                     ─▶ AllocateService  a virtual address a network and family
//	                                     ─▶ AllocateTask     an address a network and family
//
// It promises that no address and no VNI is given twice, that subnets of the swarm do
// not overlap, and that what is in the store is taken up as it is. Nodes get no address
// of their own: no balancer needs one. It is arithmetic: what it decides swarmkit
// stores, and brings again after a change of leader.
package allocator

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/manager/allocator/networkallocator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/linkspan/linkspan/internal/ipam"
)

const (
	// Driver is the kind of networks that reach over hosts.
	Driver = "overlay"
	// VNIs is the option in which a network's VNIs are, a comma between them, one a subnet.
	VNIs = "com.docker.network.driver.overlay.vxlanid_list"

	ipamDefault = "default"

	// firstVNI is above what VLANs have (IEEE 802.1Q); the last is RFC 7348's.
	firstVNI = 4096
	lastVNI  = 1<<24 - 1

	defaultBits = 24
)

// local are the kinds of networks whose addresses each host gives by itself.
var local = []string{"bridge", "host", "ipvlan", "macvlan"}

// Provider is what swarmkit's managers ask for networks and addresses.
type Provider struct {
	// Port, if set, is told the UDP port of the swarm's data.
	Port func(port uint32)
}

// ValidateNetworkDriver implements networkallocator.Provider.
func (Provider) ValidateNetworkDriver(d *api.Driver) error {
	switch {
	case d == nil:
		return nil
	case d.Name == "":
		return status.Error(codes.InvalidArgument, "driver name: if driver is specified name is required")
	case d.Name != Driver && !slices.Contains(local, strings.ToLower(d.Name)):
		return status.Errorf(codes.InvalidArgument, "plugin %s not supported", d.Name)
	}
	return nil
}

// ValidateIngressNetworkDriver implements networkallocator.Provider.
func (Provider) ValidateIngressNetworkDriver(d *api.Driver) error {
	if d != nil && d.Name != Driver {
		return status.Error(codes.Unimplemented, "only overlay driver is currently supported for ingress network")
	}
	return nil
}

// ValidateIPAMDriver implements networkallocator.Provider.
func (Provider) ValidateIPAMDriver(d *api.Driver) error {
	switch {
	case d == nil:
		return nil
	case d.Name == "":
		return status.Error(codes.InvalidArgument, "driver name: if driver is specified name is required")
	case strings.ToLower(d.Name) != ipamDefault:
		return status.Errorf(codes.InvalidArgument, "plugin %s not supported", d.Name)
	}
	return nil
}

// PredefinedNetworks implements networkallocator.Provider.
func (Provider) PredefinedNetworks() []networkallocator.PredefinedNetworkData {
	return []networkallocator.PredefinedNetworkData{{Name: "bridge", Driver: "bridge"}, {Name: "host", Driver: "host"}}
}

// SetDefaultVXLANUDPPort implements networkallocator.Provider.
func (p Provider) SetDefaultVXLANUDPPort(port uint32) error {
	if p.Port != nil {
		p.Port(port)
	}
	return nil
}

// NewAllocator implements networkallocator.Provider.
func (Provider) NewAllocator(c *networkallocator.Config) (networkallocator.NetworkAllocator, error) {
	a := &allocator{networks: map[string]*network{}, services: map[string]bool{}, tasks: map[string]bool{}, nodes: map[string]map[string]bool{}, vnis: map[uint32]bool{}}
	if c != nil {
		for _, text := range c.DefaultAddrPool {
			p, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("invalid prefix %q: %w", text, err)
			}
			a.bases = append(a.bases, ipam.Base{Prefix: p.Masked(), Bits: int(cmp.Or(c.SubnetSize, defaultBits))})
		}
	}
	if len(a.bases) == 0 {
		a.bases = []ipam.Base{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Bits: defaultBits}}
	}
	return a, nil
}

// allocator remembers what was given. Swarmkit asks for changes one after the other,
// and for the state of networks at any time.
type allocator struct {
	bases []ipam.Base

	mu       sync.Mutex
	networks map[string]*network
	services map[string]bool            // those with virtual addresses
	tasks    map[string]bool            // those with addresses
	nodes    map[string]map[string]bool // node, network: which networks a node was told of
	vnis     map[uint32]bool
}

// IsAllocated implements networkallocator.NetworkAllocator.
func (a *allocator) IsAllocated(n *api.Network) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.networks[n.ID] != nil
}

// Allocate implements networkallocator.NetworkAllocator: it gives a network its
// subnets, gateways and VNIs, or takes up those that it has.
func (a *allocator) Allocate(n *api.Network) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.networks[n.ID] != nil {
		return fmt.Errorf("network %s already allocated", n.ID)
	}
	name := Driver
	if d := n.Spec.DriverConfig; d != nil && d.Name != "" {
		name = d.Name
	}
	if slices.Contains(local, name) {
		n.DriverState = &api.Driver{Name: name}
		n.IPAM = &api.IPAMOptions{Driver: &api.Driver{}} // older nodes want one
		a.networks[n.ID] = &network{local: true}
		return nil
	}
	if name != Driver {
		return fmt.Errorf("network driver %s not found", name)
	}
	if d := n.Spec.IPAM; d != nil && d.Driver != nil && d.Driver.Name != "" && strings.ToLower(d.Driver.Name) != ipamDefault {
		return fmt.Errorf("could not resolve IPAM driver %s", d.Driver.Name)
	}
	nw := &network{ingress: networkallocator.IsIngressNetwork(n), held: map[netip.Addr]bool{}}
	options, err := a.settlePools(n, nw)
	if err != nil {
		return fmt.Errorf("failed allocating pools and gateway IP for network %s: %w", n.ID, err)
	}
	vnis, err := a.takeVNIs(n, len(nw.pools))
	if err != nil {
		return fmt.Errorf("failed while allocating driver state for network %s: %w", n.ID, err)
	}
	nw.vnis, n.IPAM = vnis, options
	n.DriverState = &api.Driver{Name: name, Options: driverOptions(n, vnis)}
	a.networks[n.ID] = nw
	return nil
}

// driverOptions returns the options of a network with its VNIs among them.
func driverOptions(n *api.Network, vnis []uint32) map[string]string {
	out := map[string]string{}
	if n.Spec.DriverConfig != nil {
		maps.Copy(out, n.Spec.DriverConfig.Options)
	}
	if n.DriverState != nil {
		maps.Copy(out, n.DriverState.Options)
	}
	var texts []string
	for _, v := range vnis {
		texts = append(texts, strconv.FormatUint(uint64(v), 10))
	}
	out[VNIs] = strings.Join(texts, ",")
	return out
}

// takeVNIs takes one VNI for each of a network's subnets: those it has, those it was
// made with, then the lowest free ones.
func (a *allocator) takeVNIs(n *api.Network, count int) ([]uint32, error) {
	wanted := ""
	if n.Spec.DriverConfig != nil {
		wanted = n.Spec.DriverConfig.Options[VNIs]
	}
	if n.DriverState != nil && n.DriverState.Options[VNIs] != "" {
		wanted = n.DriverState.Options[VNIs]
	}
	var out []uint32
	for text := range strings.SplitSeq(wanted, ",") {
		if text == "" || len(out) == count {
			continue
		}
		v, err := strconv.ParseUint(strings.TrimSpace(text), 10, 24)
		if err != nil || v == 0 {
			return nil, fmt.Errorf("invalid vxlan id value %q passed", text)
		}
		if a.vnis[uint32(v)] || slices.Contains(out, uint32(v)) {
			return nil, fmt.Errorf("could not assign vxlan id %d: it belongs to another network", v)
		}
		out = append(out, uint32(v))
	}
	for next := uint32(firstVNI); len(out) < count; next++ {
		if next > lastVNI {
			return nil, errors.New("could not obtain vxlan id: all are taken")
		}
		if !a.vnis[next] && !slices.Contains(out, next) {
			out = append(out, next)
		}
	}
	for _, v := range out {
		a.vnis[v] = true
	}
	return out, nil
}

// Deallocate implements networkallocator.NetworkAllocator.
func (a *allocator) Deallocate(n *api.Network) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	nw := a.networks[n.ID]
	if nw == nil {
		return unknown(n.ID)
	}
	for _, v := range nw.vnis {
		delete(a.vnis, v)
	}
	delete(a.networks, n.ID)
	return nil
}

func unknown(id string) error {
	return fmt.Errorf("could not find network allocator state for network %s", id)
}
