// Package driver says what a kind of network is: a Driver answers questions
// about a network and writes the rows it wants; it never acts.
//
// A driver is pure: equal Views give equal rows. It cannot be wrong about the
// order of effects, because it has none. To add one, write a package beside
// bridge and add a line to package all.
package driver

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Driver is one kind of network.
type Driver interface {
	// Name is what `docker network create --driver` calls it.
	Name() string
	// Traits says what the engine must know of the kind as a whole.
	Traits() Traits
	// Validate checks a new network's options and pools, and that it does not
	// collide with the others. Errors carry Docker's text.
	Validate(n model.Network, others iter.Seq[model.Network]) error
	// Plan returns the rows of a network, or with v.Endpoint those of one
	// endpoint that is up.
	Plan(v View) ([]desired.Row, error)
}

// Linker is a Driver whose networks may keep their containers apart, except where
// a link (--link) leads from one to another.
type Linker interface {
	// Link returns the rows of a link from v.Endpoint, which is up.
	Link(v View, to LinkTarget) ([]desired.Row, error)
}

// Multihomer is a Driver that ties what a container sends to its addresses on the
// network.
type Multihomer interface {
	// Elsewhere returns the rows that let v.Endpoint, which is up, send under addresses
	// that its container has on other networks.
	Elsewhere(v View, addrs []netip.Addr) []desired.Row
}

// Tunneler is a Driver that has all its encrypted networks (model.Network.Encrypted) share one
// tunnel to the other hosts.
type Tunneler interface {
	// Tunnel returns the tunnel's rows, from what is known of those networks.
	Tunnel(of []facts.Overlay) []desired.Row
}

// LinkTarget is the far end of a link, which is up, and what it exposes.
type LinkTarget struct {
	Sandbox  model.Sandbox
	Endpoint model.Endpoint
	Ports    []model.OpenPorts
}

// Traits are properties of a kind of network.
type Traits struct {
	Addresses bool // its endpoints have addresses from pools
	Gateway   bool // a gateway address is reserved, and the default route leads there
	Interface bool // its endpoints have an interface in their container
	Single    bool // one network of this kind exists, for ever
	Names     bool // endpoints are found by name on networks that are not predefined
	OnePool   bool // at most one subnet of each family
	HostsOwn  bool // its containers have the host's own network namespace, from their creation on
	Alone     bool // its containers are on no other network
	Hosts     bool // it reaches over the hosts of a swarm
}

// View is what a driver sees: a network and, when an endpoint's rows are wanted,
// the endpoint and its sandbox. Of the facts it has those from which rows of drivers
// may follow, since those rows are planned anew when they change, and at no other
// time (plan.OwnersOf).
type View struct {
	Network  model.Network
	Endpoint *model.Endpoint
	Sandbox  model.Sandbox
	// Packets says what sizes of packets the host can cope with.
	Packets facts.Packets
	// Learned is what somebody outside has said of the endpoint.
	Learned facts.Endpoint
	// Overlay is what is known of the network's other hosts, if it reaches over hosts.
	Overlay facts.Overlay
	// Members are all who are on the network, if it reaches over hosts and is itself planned.
	Members []Member
	// Gates are the addresses in the network's namespace by which published ports of the
	// swarm come in, if it is for those; one a family.
	Gates []Gate
	// Forward says that the host must forward between its networks (--ip-forward).
	Forward bool
	// DirectRouting lets the outside reach published ports at containers' own
	// addresses, and whatever else somebody accepts (--allow-direct-routing).
	DirectRouting bool
}

// Gate is an address in a network's namespace at which published ports of the swarm are, and
// that of the host there, under which its own processes and containers beside it come.
type Gate struct{ Addr, Host netip.Addr }

// Option keys that every driver understands.
const (
	OptionMTU             = "com.docker.network.driver.mtu"
	OptionInterfacePrefix = "com.docker.network.container_iface_prefix"
	OptionInterface       = "com.docker.network.endpoint.ifname"
	OptionSysctls         = "com.docker.network.endpoint.sysctls"
)

// LargePackets is how large packets are made that never leave the host, in bytes:
// beyond it, throughput grows no more.
const LargePackets = 196608

// maxIfName is the longest name of an interface: IFNAMSIZ less the final NUL.
const maxIfName = 15

// IfName computes the name of an interface from what it belongs to: prefix and
// as many hexadecimal digits of the SHA-256 of parts as there is room for, 11
// at the most. A restarted engine computes the same name.
func IfName(prefix string, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	digits := min(11, maxIfName-len(prefix))
	return prefix + hex.EncodeToString(sum[:])[:digits]
}

// Spread computes a number below n from what it belongs to: different things get
// different numbers, most likely, and each the same again.
func Spread(n int, parts ...string) int {
	sum := sha256.Sum256([]byte("spread\x00" + strings.Join(parts, "\x00")))
	return int(binary.BigEndian.Uint32(sum[:]) % uint32(n))
}

// MAC computes a unicast, locally administered MAC address (IEEE 802, bits 0
// and 1 of the first octet) from what it belongs to.
func MAC(parts ...string) string {
	sum := sha256.Sum256([]byte("mac\x00" + strings.Join(parts, "\x00")))
	sum[0] = sum[0]&^1 | 2
	octets := make([]string, 6)
	for i := range octets {
		octets[i] = fmt.Sprintf("%02x", sum[i])
	}
	return strings.Join(octets, ":")
}

// BridgeMAC is the MAC address of a network's bridge.
func BridgeMAC(id model.NetworkID) string { return MAC("bridge", string(id)) }

// Bounds of an MTU, in bytes: what a veth takes, and what IPv6 needs at the least
// (RFC 8200, section 5): the kernel takes the addresses off an interface that has
// less.
const (
	minMTU  = 68
	minMTU6 = 1280
	maxMTU  = 65535
)

// MTU returns the network's MTU in bytes; 0 means the kernel's default.
func MTU(n model.Network) (int, error) {
	text, given := n.Options[OptionMTU]
	if !given {
		return 0, nil
	}
	mtu, err := strconv.Atoi(text)
	if err != nil {
		return 0, model.Errorf(model.Invalid, "failed to parse %s value: %v (%s)", OptionMTU, text, err)
	}
	least, why := minMTU, ""
	if n.IPv6 {
		least, why = minMTU6, "the network has IPv6, which needs packets of 1280 bytes"
	}
	if mtu != 0 && (mtu < least || mtu > maxMTU) {
		return 0, &model.Error{Kind: model.Invalid, Err: fmt.Errorf("invalid MTU number: %d", mtu),
			Who: why, Way: fmt.Sprintf("choose one from %d to %d", least, maxMTU)}
	}
	return mtu, nil
}

// ValidInterface tells whether an interface can have the name. The kernel refuses
// some (dev_valid_name in net/core/dev.c), cuts others off at a NUL, and takes a
// '%' for a pattern to make a name of.
func ValidInterface(name string) bool {
	for _, c := range []byte(name) {
		if c <= ' ' || c == 0x7f || c == '/' || c == ':' || c == '%' {
			return false
		}
	}
	return name != "" && len(name) <= maxIfName && name != "." && name != ".."
}

// GatewayChooser is a Driver some of whose networks have no use for a gateway.
type GatewayChooser interface {
	// NeedsGateway tells whether an address of family f is set aside for the
	// gateway of n, if its user named none.
	NeedsGateway(n model.Network, f model.Family) (bool, error)
}

// GatewayMaker is a Driver of whose networks one can lead containers out whose own lead nowhere.
type GatewayMaker interface {
	// GatewayOptions are the options of such a network, whose interface on the host is
	// called device.
	GatewayOptions(device string) map[string]string
}

// InterfacePrefix returns what the names of the network's interfaces begin
// with inside containers.
func InterfacePrefix(n model.Network) string {
	if p := n.Options[OptionInterfacePrefix]; p != "" {
		return p
	}
	return "eth"
}

// IPv6Off tells whether an endpoint's interface has IPv6 switched off by settings of
// its container or of its own: it has no address of that family, whatever its
// network has.
func IPv6Off(sb model.Sandbox, e model.Endpoint) bool {
	settings, err := EndpointSysctls(e, "")
	if sb.NoIPv6 || err != nil { // refused when it was asked for
		return sb.NoIPv6
	}
	off := false
	for _, row := range settings {
		if s, ok := row.(desired.Sysctl); ok && s.Path == DisableIPv6(e.Interface) {
			off = strings.TrimSpace(s.Value) != "0"
		}
	}
	return off
}

// DisableIPv6 is the path of the setting that switches IPv6 off on an interface.
func DisableIPv6(link string) string { return "net/ipv6/conf/" + link + "/disable_ipv6" }

// Override returns rows with those of user in place of the ones that set the same.
// Of several settings of one thing the user's last counts.
func Override(rows, user []desired.Row) []desired.Row {
	at := map[desired.Key]int{}
	var out []desired.Row
	for _, row := range slices.Concat(rows, user) {
		if i, again := at[row.Key()]; again {
			out[i] = row
			continue
		}
		at[row.Key()] = len(out)
		out = append(out, row)
	}
	return out
}

// EndpointSysctls returns the settings asked for with an endpoint's sysctls
// option, IFNAME replaced by its interface.
func EndpointSysctls(e model.Endpoint, namespace string) ([]desired.Row, error) {
	var rows []desired.Row
	for _, setting := range strings.Split(e.DriverOpts[OptionSysctls], ",") {
		if setting == "" {
			continue
		}
		name, value, ok := strings.Cut(setting, "=")
		parts := strings.Split(name, ".")
		// The docker command turns all of --network into lower case.
		if !ok || strings.Contains(name, "/") || len(parts) != 5 || parts[0] != "net" || !strings.EqualFold(parts[3], "IFNAME") ||
			(parts[1] != "ipv4" && parts[1] != "ipv6" && parts[1] != "mpls") {
			return nil, model.Errorf(model.Invalid, "unrecognised network interface sysctl '%s'; "+
				"represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'", setting)
		}
		parts[3] = e.Interface
		rows = append(rows, desired.Sysctl{Namespace: namespace, Path: strings.Join(parts, "/"), Value: value})
	}
	return rows, nil
}
