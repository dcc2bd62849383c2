// Package model holds the nouns a Docker user knows: networks, endpoints,
// sandboxes, containers, images and the one error type.
//
// It is data: nothing here performs I/O, and values refer to one another by ID,
// never by pointer. Addresses are net/netip values; the zero value means "none".
package model

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Typed identifiers. All of them are 64 lower-case hexadecimal digits, except
// that an ImageID is a digest such as "sha256:…".
type (
	NetworkID   string
	EndpointID  string
	SandboxID   string
	ContainerID string
	ImageID     string
)

// ShortLen is how many digits of an ID the docker CLI shows.
const ShortLen = 12

// Short returns the first ShortLen digits of an ID, or all of a shorter one.
func Short[T ~string](id T) string {
	return string(id[:min(len(id), ShortLen)])
}

// Family selects IPv4 or IPv6.
type Family uint8

// The two address families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Families are both, in the order in which addresses are given out.
var Families = [...]Family{IPv4, IPv6}

// Unspecified returns 0.0.0.0 or ::, which stands for every address of the family.
func (f Family) Unspecified() netip.Addr {
	if f == IPv4 {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// FamilyOf tells the family of a; addresses mapped into IPv6 count as IPv4.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// LinkLocalSubnet returns fe80::/64: every interface with IPv6 has an address of it
// (RFC 4291, section 2.5.6).
func LinkLocalSubnet() netip.Prefix { return netip.MustParsePrefix("fe80::/64") }

// ScopeSwarm is the scope of networks that reach over the hosts of a swarm. Their
// addresses are the swarm's to give.
const ScopeSwarm = "swarm"

// Names of the networks that are always there.
const (
	NetworkBridge = "bridge"
	NetworkHost   = "host"
	NetworkNone   = "none"
)

// CompareBool orders what does not hold before what does: -1, 0 or 1, as cmp.Compare.
func CompareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// Predefined tells whether name is reserved for a network of the engine itself.
func Predefined(name string) bool {
	return name == NetworkBridge || name == NetworkHost || name == NetworkNone || name == "default"
}

// Network is a network as its user asked for it, with the pools it was given.
type Network struct {
	ID         NetworkID
	Name       string
	Driver     string
	Scope      string // "local", or "swarm": it reaches over hosts
	Created    time.Time
	IPv4, IPv6 bool
	Internal   bool
	Attachable bool
	ConfigOnly bool
	Ingress    bool   `json:",omitempty"` // published ports of the swarm are reached by it
	ConfigFrom string // name of the config-only network its settings came from
	IPAM       IPAM
	Options    map[string]string // driver options as given; parsed once by the driver
	Labels     map[string]string
}

// Predefined tells whether the network is one of bridge, host and none.
func (n Network) Predefined() bool { return Predefined(n.Name) }

// OptionNames on the default bridge has its containers find one another by name,
// as on networks of the user's own (--default-bridge-dns).
const OptionNames = "com.linkspan.dns.names"

// Named tells whether containers find one another by name on the network, as far
// as that is not up to its driver.
func (n Network) Named() bool {
	return !n.Predefined() || n.Name == NetworkBridge && n.Options[OptionNames] == "true"
}

// Pool returns the network's first pool of family f.
func (n Network) Pool(f Family) (Pool, bool) {
	for _, p := range n.IPAM.Pools {
		if FamilyOf(p.Subnet.Addr()) == f {
			return p, true
		}
	}
	return Pool{}, false
}

// PoolOf returns the network's pool that an address is of.
func (n Network) PoolOf(a netip.Addr) (Pool, bool) {
	for _, p := range n.IPAM.Pools {
		if p.Subnet.Contains(a) {
			return p, true
		}
	}
	return Pool{}, false
}

// Enabled tells whether the network carries family f.
func (n Network) Enabled(f Family) bool {
	if f == IPv4 {
		return n.IPv4
	}
	return n.IPv6
}

// IPAM is where a network's addresses come from.
type IPAM struct {
	Driver  string // "default"
	Options map[string]string
	Pools   []Pool
}

// Pool is one subnet of a network. Before a network is created every field but
// those the user named is zero; afterwards Subnet is always set, and Gateway is
// set wherever the driver wants one.
type Pool struct {
	Subnet  netip.Prefix
	Range   netip.Prefix // addresses given out by itself come from here; zero: from all of Subnet
	Gateway netip.Addr
	Aux     map[string]netip.Addr // reserved by name
}

// Container is the record of one container. What is in it beside the name is the
// affair of whoever runs containers; networks do not follow from it.
type Container struct {
	ID   ContainerID
	Name string // without a slash; no two containers have the same
	// Document is a JSON document. It is never changed in place, so that all
	// snapshots in which it is the same share its bytes.
	Document []byte
}

// SandboxMode says whose network namespace a container uses.
type SandboxMode string

// The modes. A container in "container:NAME" mode has no sandbox of its own.
const (
	SandboxOwn  SandboxMode = "own"
	SandboxHost SandboxMode = "host"
)

// Sandbox is the network life of one container: its namespace and what is set
// for the container as a whole.
type Sandbox struct {
	ID         SandboxID
	Container  ContainerID
	Name       string // the container's name, without a slash
	Mode       SandboxMode
	Up         bool   // its namespace exists
	Generation uint64 // counts starts; names of interfaces depend on it
	Hostname   string
	Domainname string
	DNS        Resolving
	// NoIPv6 says that the container's own settings (--sysctl) switch IPv6 off on all
	// of its interfaces.
	NoIPv6 bool `json:",omitempty"`
	// Pending are memberships whose network is not there: it was not at creation,
	// or it was removed while the container was stopped. Starting needs them all.
	Pending []EndpointSpec
	// Publish are the ports to be published, in the order in which host ports are
	// chosen for them.
	Publish []PortSpec `json:",omitempty"`
	// Ports are open while the sandbox is up. Afterwards they are remembered, and
	// given again at the next start unless another container needs them.
	Ports []PortBinding `json:",omitempty"`
	// Routed are published ports that are open, besides, at the container's own
	// addresses on networks that are reached without the host's ports.
	Routed []PortBinding `json:",omitempty"`
	// Links are the containers that this one may reach on the default bridge though
	// containers there may not talk to one another; one entry a target.
	Links []SandboxLink `json:",omitempty"`
	// LinkedBy are the sandboxes whose Links lead here.
	LinkedBy []SandboxID `json:",omitempty"`
	// NetAdmin says that processes in the namespace have CAP_NET_ADMIN: they may
	// configure interfaces, and so speak for more than the engine gave them.
	NetAdmin bool `json:",omitempty"`
	// Guest is set where the namespace is somebody else's; Container is then no
	// container's ID but begins with GuestPrefix.
	Guest *Guest `json:",omitempty"`
	// Ingress is set for what is no container: the namespace of this network, by which
	// published ports of the swarm come in.
	Ingress NetworkID `json:",omitempty"`
	// Serving says that the container, which runs a service's task, is ready for requests.
	Serving bool `json:",omitempty"`
}

// SandboxLink is what a link (--link) opens: ports of another container.
type SandboxLink struct {
	Target SandboxID
	Ports  []OpenPorts
}

// OpenPorts are ports of one protocol.
type OpenPorts struct {
	Protocol Protocol
	Ports    PortRange
}

// Resolving says how a container's look-ups leave its networks, once --dns and
// --dns-option, the daemon's defaults and the host's resolv.conf are combined.
type Resolving struct {
	Servers []netip.Addr // asked from inside the sandbox; empty means the host's
	NDots   int          // above 0, single labels stay local
}

// Endpoint is a container's membership of a network. It exists from the
// container's creation on; only while Up does it have an interface.
type Endpoint struct {
	ID         EndpointID
	Network    NetworkID
	Sandbox    SandboxID
	Up         bool
	Order      int    // place among its sandbox's endpoints, the oldest lowest
	Interface  string // name inside the container: "eth0"
	MAC        string // "02:42:…", lower case
	Addr4      netip.Addr
	Addr6      netip.Addr
	Static4    bool // Addr4 was asked for by the user: a claim, held while stopped
	Static6    bool
	StaticMAC  bool
	LinkLocal  []netip.Addr
	Aliases    []string // as the user gave them
	Links      []Link
	Priority   int // --gw-priority
	DriverOpts map[string]string
	DownSince  uint64 // revision at which it went down; orders soft claims by age
	// Lease4 is what came with Addr4 from a DHCP server; nil if no server gave it.
	Lease4 *Lease `json:",omitempty"`
	// Lease6 is the same of Addr6, which may also be of a router's prefix.
	Lease6 *Lease `json:",omitempty"`
	// Asked4 is the address that the user asked for while a DHCP server gives it to nobody;
	// invalid at all other times, when it is Addr4.
	Asked4 netip.Addr `json:",omitzero"`
	// Yielded says that others may have its addresses, except static ones. It has
	// them again when it comes back, unless somebody took them.
	Yielded bool `json:",omitempty"`
	// Claim is set in the sandbox of a guest: who attached it here.
	Claim *Claim `json:",omitempty"`
	// WayOut says that it is there only to lead its container out, which its user did not
	// ask for. It goes with the container's network.
	WayOut bool `json:",omitempty"`
	// Service is set on a network of a swarm, for a container that runs a service's task.
	Service *ServiceEndpoint `json:",omitempty"`
}

// ServiceEndpoint is what a container stands for on one network of a swarm. It is never
// changed in place.
type ServiceEndpoint struct {
	Service string // ID
	Name    string // the service's
	Task    string // ID
	// VIPs are the service's addresses on the network; none if names of it stand for those
	// of its containers.
	VIPs    []netip.Addr
	Aliases []string // further names of the service on the network
	// Ingress are the ports by which all hosts of the swarm lead to the service; only on
	// the network that is for that.
	Ingress []IngressPort
}

// IngressPort is a port that all hosts of a swarm publish.
type IngressPort struct {
	Name              string
	Protocol          Protocol
	Target, Published uint16
	// Local has each host lead to its own tasks alone: one without any refuses.
	Local bool `json:",omitempty"`
	// Sticky has a client come to the same task again, by whichever host, while the tasks stay the same.
	Sticky bool `json:",omitempty"`
}

// EndpointSpec is a membership as the user asks for it.
type EndpointSpec struct {
	ID         EndpointID
	Network    string // name, ID or the beginning of an ID
	IPv4, IPv6 netip.Addr
	// Given are addresses that somebody else chose for it, of families that it asks for none
	// of.
	Given      []netip.Addr `json:",omitempty"`
	LinkLocal  []netip.Addr
	MAC        string
	Aliases    []string
	Links      []Link
	Priority   int
	DriverOpts map[string]string
	Service    *ServiceEndpoint `json:",omitempty"`
}

// Spec returns what the user asked for in e, on a network called network.
func (e Endpoint) Spec(network string) EndpointSpec {
	s := EndpointSpec{
		ID: e.ID, Network: network, LinkLocal: e.LinkLocal, Aliases: e.Aliases, Links: e.Links,
		Priority: e.Priority, DriverOpts: e.DriverOpts, Service: e.Service,
	}
	if a, static := e.Wished4(); static {
		s.IPv4 = a
	}
	if e.Static6 {
		s.IPv6 = e.Addr6
	}
	if e.StaticMAC {
		s.MAC = e.MAC
	}
	return s
}

// Address returns the endpoint's address of family f; invalid if it has none.
func (e Endpoint) Address(f Family) netip.Addr {
	if f == IPv4 {
		return e.Addr4
	}
	return e.Addr6
}

// WithAddress returns e holding a as its address of family f.
func (e Endpoint) WithAddress(f Family, a netip.Addr, static bool) Endpoint {
	if f == IPv4 {
		e.Addr4, e.Static4 = a, static
	} else {
		e.Addr6, e.Static6 = a, static
	}
	return e
}

// Static tells whether the address of family f was asked for by the user.
func (e Endpoint) Static(f Family) bool {
	if f == IPv4 {
		return e.Static4
	}
	return e.Static6
}

// Link is `--link Target:Alias`: a private name for another container.
type Link struct {
	Target string // container name or ID as given
	Alias  string
}

// DNSNames returns the names an endpoint answers to on a user-defined network,
// in the order Docker shows them: container name, aliases, short ID, hostname.
// The first is the one that a PTR query gets.
func DNSNames(s Sandbox, e Endpoint) []string {
	all := append([]string{s.Name}, e.Aliases...)
	all = append(all, Short(s.Container), s.Hostname)
	var out []string
	for _, name := range all {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// NetnsDir is where named network namespaces are kept, as iproute2 does; so
// `ip netns exec` works on any container.
const NetnsDir = "/run/netns"

// NamespaceOf returns the name, below NetnsDir, of a container's own network
// namespace.
func NamespaceOf(c ContainerID) string {
	if strings.HasPrefix(string(c), overlayPrefix) {
		return string(c)
	}
	return Short(c)
}

// Host is what the engine does to the machine as a whole.
type Host struct {
	// BootID is the boot in which the rest was decided.
	BootID string
	// Forward4 and Forward6 say that forwarding must be on, whoever switched it on.
	Forward4, Forward6 bool
	// Forwarding4 and Forwarding6 say that the engine switched forwarding on.
	Forwarding4, Forwarding6 bool
	// Router lets the machine forward foreign traffic too when the engine
	// switched forwarding on (--ip-forward-no-drop).
	Router bool
}
