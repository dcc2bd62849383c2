package desired

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// HostNamespace is the Namespace field of rows that live in the network
// namespace of the engine itself.
const HostNamespace = ""

// Namespace is a network namespace by its name under /run/netns, its loopback
// interface up.
type Namespace struct {
	Name string
}

// LinkType is a kind of network interface, by the kernel's name.
type LinkType string

// The types of links that built-in drivers want.
const (
	LinkBridge LinkType = "bridge"
	LinkVeth   LinkType = "veth"
)

// PortGroup is the interface group (IFLA_GROUP) of every bridge port of ours.
// The firewall drops frames of a port in this group that has no policy, so that
// a port is never open before its policy exists, nor while the engine is away.
const PortGroup uint32 = 0x6c73

// Link is a network interface. For a veth, the row stands for the pair: Name is
// the end in Namespace, Peer the other.
type Link struct {
	Namespace string
	Name      string
	Type      LinkType
	MTU       int    // bytes; 0 leaves the kernel's default
	MAC       string // empty leaves the kernel's choice
	Master    string // bridge it is a port of
	Group     uint32
	Packets   PacketSizes // of a veth, of the end in Namespace
	Peer      *Peer
	// Adopt lets the link be one that was there before: it is used and not
	// removed afterwards.
	Adopt bool
}

// PacketSizes are how large the packets of each family may be that a link takes
// before they are cut to its MTU, and that it puts together of small ones, in
// bytes (ip-link(8): gso_max_size, gro_max_size). 0 is the kernel's default of
// 65536; packets larger than that are known as BIG TCP.
type PacketSizes struct{ IPv4, IPv6 int }

// String is how ip-link(8) says it, with a space before each size that is not the
// kernel's.
func (s PacketSizes) String() string {
	var b strings.Builder
	if s.IPv4 != 0 {
		fmt.Fprintf(&b, " gso_ipv4_max_size %d", s.IPv4)
	}
	if s.IPv6 != 0 {
		fmt.Fprintf(&b, " gso_max_size %d", s.IPv6)
	}
	return b.String()
}

// Peer is the far end of a veth pair.
type Peer struct {
	Namespace string
	Name      string
	MAC       string
	Packets   PacketSizes
}

// Addr is an address on a link. Prefix holds the host's address and the length
// of the subnet: 172.17.0.1/16. Duplicate address detection is off, since IPAM
// already made the address unique.
type Addr struct {
	Namespace string
	Link      string
	Prefix    netip.Prefix
}

// Route is a unicast route in the main table.
type Route struct {
	Namespace   string
	Destination netip.Prefix // 0.0.0.0/0 or ::/0 for a default route
	Gateway     netip.Addr
	Link        string
}

// Neigh is a permanent neighbour entry.
type Neigh struct {
	Namespace string
	Link      string
	IP        netip.Addr
	MAC       string
}

// Sysctl is a value below /proc/sys. It is never set back when no longer
// wanted, except that it vanishes with its namespace or interface.
type Sysctl struct {
	Namespace string
	Path      string // "net/ipv4/ip_forward"
	Value     string
}

// Loopback lets the host's loopback interface take IPv4 packets of up to Packets
// bytes before they are cut to its MTU (ip-link(8): gso_ipv4_max_size): what the
// host sends to a published port of its own 127.0.0.1 starts out there. It is
// wanted only in place of the kernel's default, since another size is the
// administrator's, and never set back.
type Loopback struct{ Packets int }

// Fence is what holds at a bridge whatever becomes of the firewall's tables: the kernel
// drops it between the bridge and the host's stack. There, a rule of the firewall says
// the same; a Fence is for what must not depend on a rule.
type Fence struct {
	Link string
	// Localhost lets what the host sends to its own 127.0.0.0/8 be led to the network
	// (kernel: ip-sysctl, route_localnet), while nobody there may use such addresses:
	// the one is never without the other. It is never set where the kernel cannot do
	// both.
	Localhost bool
	// Inside, if there are any, are the subnets that IP packets from the network must go
	// to, and that those into it must come from, apart from what is for the link alone.
	Inside []netip.Prefix
}

// AnswerMark is the bit of a packet's mark that says that an address in it is connection
// tracking's work and nobody's claim: the firewall tells a Fence so. A packet that comes
// out of a container has no mark.
const AnswerMark uint32 = 1 << 27

// Announce tells the neighbours on a network, Count times and Every so often, which MAC
// address the addresses of a container's interface have: whoever knew another forgets it.
type Announce struct {
	Namespace string
	Link      string
	MAC       string
	Addrs     []netip.Addr
	Count     int
	Every     time.Duration
}

// Isolate is the policy of a bridge network as a whole: traffic crosses its
// border only where another policy allows it.
type Isolate struct {
	Bridge   string
	Internal bool // no way in or out
	ICC      bool // its containers may talk to one another
}

// Masquerade lets traffic from Subnet leave the host under the host's own
// address: the one that the route names, or Source if that is set.
type Masquerade struct {
	Bridge string
	Subnet netip.Prefix
	Source netip.Addr
}

// Guard is the policy of the host: with DropForeign, packets between two
// interfaces of which neither is ours are not forwarded.
type Guard struct {
	DropForeign4, DropForeign6 bool
}

// Resolver is a DNS server for one namespace, at 127.0.0.11 there.
type Resolver struct {
	Namespace string
	Networks  []model.NetworkID // whose names it answers, in order of search
	Links     []DNSLink         // private names
	Servers   []netip.Addr      // asked from inside the namespace; empty means the host's
	Internal  bool              // all its networks are internal: the host's servers are not asked
	NDots     int               // resolver option of the container; above 0 keeps single labels local
	Routes    []DNSRoute        // domains with name servers of their own
}

// DNSLink is a private name of a sandbox: an alias for a name on one of its
// networks; on all of them if Network is empty, as daemons had it before they knew
// better.
type DNSLink struct {
	model.Link
	Network model.NetworkID `json:",omitempty"`
}

// String returns "alias=target@network".
func (l DNSLink) String() string { return l.Alias + "=" + l.Target + "@" + model.Short(l.Network) }

// DNSRoute sends queries for a domain and all below it to name servers of its
// own, asked from inside the namespace. The longest domain that fits is taken.
type DNSRoute struct {
	Domain  string // without the last dot
	Servers []netip.Addr
}

// Name is what an endpoint answers to on a network. Rows of several endpoints
// under one name add up.
type Name struct {
	Network     model.NetworkID
	NetworkName string
	Name        string
	Endpoint    model.EndpointID
	Addrs       []netip.Addr
	Primary     bool // the name that reverse look-ups of Addrs give
}

// Keys.

func key(kind Kind, parts ...string) Key { return Key{kind, strings.Join(parts, " ")} }

// Key implements Row.
func (r Namespace) Key() Key { return key(KindNamespace, r.Name) }

// Key implements Row.
func (r Link) Key() Key { return key(KindLink, where(r.Namespace), r.Name) }

// Key implements Row.
func (r Addr) Key() Key { return key(KindAddr, where(r.Namespace), r.Link, r.Prefix.String()) }

// Key implements Row.
func (r Route) Key() Key { return key(KindRoute, where(r.Namespace), r.Destination.String()) }

// Key implements Row.
func (r Neigh) Key() Key { return key(KindNeigh, where(r.Namespace), r.Link, r.IP.String()) }

// Key implements Row.
func (r Loopback) Key() Key { return key(KindLoopback, where(HostNamespace), "lo") }

// Key implements Row.
func (r Fence) Key() Key { return key(KindFence, r.Link) }

// Key implements Row.
func (r Sysctl) Key() Key { return key(KindSysctl, where(r.Namespace), r.Path) }

// Key implements Row.
func (r Announce) Key() Key { return key(KindAnnounce, where(r.Namespace), r.Link) }

// Key implements Row.
func (r Isolate) Key() Key { return key(KindPolicy, "isolate", r.Bridge) }

// Key implements Row.
func (r Masquerade) Key() Key { return key(KindPolicy, "masquerade", r.Subnet.String()) }

// Key implements Row.
func (r Guard) Key() Key { return key(KindPolicy, "guard") }

// Key implements Row.
func (r Resolver) Key() Key { return key(KindResolver, r.Namespace) }

// Key implements Row.
func (r Name) Key() Key { return key(KindName, string(r.Network), r.Name, string(r.Endpoint)) }

func where(namespace string) string {
	if namespace == HostNamespace {
		return "host"
	}
	return namespace
}

// The readable forms.

func (r Namespace) String() string { return "namespace " + r.Name }

func (r Link) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "link %s %s type %s", where(r.Namespace), r.Name, r.Type)
	for _, f := range []struct{ name, value string }{{"mac", r.MAC}, {"master", r.Master}} {
		if f.value != "" {
			fmt.Fprintf(&b, " %s %s", f.name, f.value)
		}
	}
	if r.MTU != 0 {
		fmt.Fprintf(&b, " mtu %d", r.MTU)
	}
	if r.Group != 0 {
		fmt.Fprintf(&b, " group %#x", r.Group)
	}
	b.WriteString(r.Packets.String())
	if r.Adopt {
		b.WriteString(" adopt")
	}
	if r.Peer != nil {
		fmt.Fprintf(&b, " peer %s %s mac %s%s", where(r.Peer.Namespace), r.Peer.Name, r.Peer.MAC, r.Peer.Packets)
	}
	return b.String()
}

func (r Addr) String() string {
	return fmt.Sprintf("addr %s %s %s", where(r.Namespace), r.Link, r.Prefix)
}

func (r Route) String() string {
	s := fmt.Sprintf("route %s %s dev %s", where(r.Namespace), r.Destination, r.Link)
	if r.Gateway.IsValid() {
		s += " via " + r.Gateway.String()
	}
	return s
}

func (r Neigh) String() string {
	return fmt.Sprintf("neigh %s %s %s lladdr %s", where(r.Namespace), r.Link, r.IP, r.MAC)
}

func (r Sysctl) String() string {
	return fmt.Sprintf("sysctl %s %s = %s", where(r.Namespace), r.Path, r.Value)
}

func (r Loopback) String() string {
	return fmt.Sprintf("loopback %s lo%s", where(HostNamespace), PacketSizes{IPv4: r.Packets})
}

func (r Fence) String() string {
	s := "fence " + r.Link
	if r.Localhost {
		s += " localhost"
	}
	if len(r.Inside) > 0 {
		s += fmt.Sprintf(" inside %v", r.Inside)
	}
	return s
}

func (r Announce) String() string {
	return fmt.Sprintf("announce %s %s %v lladdr %s %d times, every %s", where(r.Namespace), r.Link, r.Addrs, r.MAC, r.Count, r.Every)
}

func (r Isolate) String() string {
	return fmt.Sprintf("policy isolate %s internal=%t icc=%t", r.Bridge, r.Internal, r.ICC)
}

func (r Masquerade) String() string {
	if r.Source.IsValid() {
		return fmt.Sprintf("policy masquerade %s from %s as %s", r.Subnet, r.Bridge, r.Source)
	}
	return fmt.Sprintf("policy masquerade %s from %s", r.Subnet, r.Bridge)
}

func (r Guard) String() string {
	return fmt.Sprintf("policy guard drop-foreign4=%t drop-foreign6=%t", r.DropForeign4, r.DropForeign6)
}

func (r Resolver) String() string {
	s := fmt.Sprintf("resolver %s networks=%v links=%v servers=%v internal=%t ndots=%d",
		r.Namespace, short(r.Networks), r.Links, r.Servers, r.Internal, r.NDots)
	if len(r.Routes) > 0 {
		s += fmt.Sprintf(" routes=%v", r.Routes)
	}
	return s
}

func (r Name) String() string {
	s := fmt.Sprintf("name %s in %s (%s) = %v by %s", r.Name, model.Short(r.Network), r.NetworkName, r.Addrs, model.Short(r.Endpoint))
	if r.Primary {
		s += " primary"
	}
	return s
}

func short(ids []model.NetworkID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = model.Short(id)
	}
	return out
}
