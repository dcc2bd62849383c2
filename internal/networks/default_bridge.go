package networks

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/driver/bridge"
	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/model"
)

// standardBridge is the device of the default network unless the user names
// another.
const standardBridge = "docker0"

// noBridge is the name of a device by which the user asks for no default network.
const noBridge = "none"

// DefaultBridge says how the network "bridge" shall be, in the words of dockerd's
// flags. The zero value of an address or a prefix leaves it open.
type DefaultBridge struct {
	// Bridge is the device: empty is docker0, another one the user has made, and "none"
	// stands for no such network.
	Bridge                string
	IPv6                  bool
	BIP, BIP6             netip.Prefix // the bridge's own address and its subnet
	FixedCIDR, FixedCIDR6 netip.Prefix // what containers' addresses are taken from
	Gateway4, Gateway6    netip.Addr   // of the containers, if it is not the bridge
	PublishIP             netip.Addr   // where ports are published that do not say; invalid is 0.0.0.0
	ICC, Masquerade       bool
	Names                 bool // the resolver answers with containers' names
	MTU                   int
}

// Device is the default network's bridge as the daemon finds it, before the engine
// has a hand in it.
type Device struct {
	Users bool // the user made it, for us to use: it keeps its addresses
	There bool
	Addrs []netip.Prefix // in the kernel's order
}

// Device returns the name of the bridge, empty if there shall be none, and whether it
// is the user's, who has to make it.
func (b DefaultBridge) Device() (name string, users bool) {
	switch b.Bridge {
	case noBridge:
		return "", false
	case "", standardBridge:
		return standardBridge, false
	default:
		return b.Bridge, true
	}
}

// Network returns the network as the settings describe it, without an ID; one
// without a name if there shall be none.
func (b DefaultBridge) Network() model.Network {
	device, _ := b.Device()
	if device == "" {
		return model.Network{}
	}
	n := predefined(model.NetworkBridge, bridge.Driver{})
	n.IPv6 = b.IPv6 || b.BIP6.IsValid() || b.FixedCIDR6.IsValid()
	hostIP := "0.0.0.0"
	if b.PublishIP.IsValid() {
		hostIP = b.PublishIP.String()
	}
	n.Options = map[string]string{
		bridge.OptionDefault:     "true",
		bridge.OptionICC:         strconv.FormatBool(b.ICC),
		bridge.OptionMasquerade:  strconv.FormatBool(b.Masquerade),
		bridge.OptionHostBinding: hostIP,
		bridge.OptionName:        device,
		driver.OptionMTU:         strconv.Itoa(b.MTU),
	}
	if b.Names {
		n.Options[model.OptionNames] = "true"
	}
	for _, pool := range []model.Pool{bridgePool(b.BIP, b.FixedCIDR, b.Gateway4), bridgePool(b.BIP6, b.FixedCIDR6, b.Gateway6)} {
		if pool.Subnet.IsValid() {
			n.IPAM.Pools = append(n.IPAM.Pools, pool)
		}
	}
	return n
}

// bridgePool returns the pool that the bridge's address, the fixed range and the
// gateway describe in one family; without a subnet if none of them was given. A
// gateway alone leaves it open which subnet it is in.
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

// errOutside refuses a range that no address of a user's bridge has room for.
var errOutside = errors.New("is outside any subnet implied by addresses on the user-managed default bridge")

// Settle returns the settings for a default network on d, whose subnets are those
// of the device's addresses where BIP does not say other. A device without any
// leaves them open. ignored names the settings that make no sense there, and are
// passed over as dockerd does.
func (b DefaultBridge) Settle(d Device) (out DefaultBridge, ignored error, err error) {
	if !b.BIP.IsValid() {
		b.BIP = pick(d.Addrs, b.FixedCIDR, model.IPv4)
	}
	if !b.BIP6.IsValid() && (b.IPv6 || b.FixedCIDR6.IsValid()) {
		b.BIP6 = pick(d.Addrs, b.FixedCIDR6, model.IPv6)
	}
	if !d.Users {
		b.BIP, b.BIP6 = widen(b.BIP, b.FixedCIDR), widen(b.BIP6, b.FixedCIDR6)
		return b, nil, nil
	}
	if outside(b.BIP, b.FixedCIDR) { // was allowed by every version of dockerd
		ignored = fmt.Errorf("fixed-cidr=%s %w", b.FixedCIDR, errOutside)
		b.FixedCIDR = netip.Prefix{}
	}
	if outside(b.BIP6, b.FixedCIDR6) {
		return b, ignored, fmt.Errorf("fixed-cidr-v6=%s %w", b.FixedCIDR6, errOutside)
	}
	return b, ignored, nil
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
		switch own := model.LinkLocalSubnet().Contains(p.Addr()); {
		case model.FamilyOf(p.Addr()) != f || own && !(fixed.IsValid() && model.LinkLocalSubnet().Contains(fixed.Addr())):
		case fixed.IsValid() && p.Contains(fixed.Addr()):
			return p
		case !best.IsValid(), fixed.IsValid() && fixed.Contains(p.Addr()) && !fixed.Contains(best.Addr()):
			best = p
		}
	}
	return best
}
