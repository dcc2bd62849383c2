package desired

import (
	"fmt"
	"net/netip"
	"strings"
)

// Namespace is a network namespace by its name under /run/netns, its loopback
// interface up.
type Namespace struct {
	Name string
	// Of is set where it is somebody else's that gets the name (model.IsGuest), and is
	// given back.
	Of Lent
}

// Lent says which namespace of somebody else's is meant, and where to find it.
type Lent struct {
	Path          string
	Device, Inode uint64
}

func (r Namespace) Key() Key      { return key(KindNamespace, r.Name) }
func (r Namespace) Space() string { return r.Name }

func (r Namespace) String() string {
	if r.Of == (Lent{}) {
		return "namespace " + r.Name
	}
	return fmt.Sprintf("namespace %s of %s net:[%d]", r.Name, r.Of.Path, r.Of.Inode)
}

// LinkType is a kind of network interface, by the kernel's name.
type LinkType string

// The types of links that built-in drivers want.
const (
	LinkBridge  LinkType = "bridge"
	LinkVeth    LinkType = "veth"
	LinkMacvlan LinkType = "macvlan"
	LinkIPvlan  LinkType = "ipvlan"
	LinkVLAN    LinkType = "vlan" // IEEE 802.1Q
	// LinkDummy is a parent that leads nowhere. Where the kernel has no dummies it is an
	// ifb, which drops whatever is sent, too. (A bridge without ports has no carrier, so
	// what hangs on it would have none.)
	LinkDummy LinkType = "dummy"
	LinkVXLAN LinkType = "vxlan" // RFC 7348
	// LinkWireGuard encrypts what is sent through it, as a WireGuard row says. Where the
	// kernel has none it is a tun (LinkTUN), and whoever applies that row encrypts.
	LinkWireGuard LinkType = "wireguard"
	LinkTUN       LinkType = "tun"
	// LinkMoved is an interface of any type that somebody outside, such as a plugin, makes
	// on the host for a container: the Parent. It is moved there, and given back under the
	// name that it had.
	LinkMoved LinkType = "moved"
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
	Parent    *Parent // of a macvlan, ipvlan or VLAN; of one that is moved, what it was on the host
	VXLAN     *VXLAN  // of a VXLAN
	// Adopt lets the link be one that was there before: it is used and not
	// removed afterwards.
	Adopt bool
}

// OnParent tells whether the link is an interface of its own on a parent: a macvlan or
// ipvlan, or one that was the parent itself until it was moved. A VLAN is one that others
// hang on.
func (r Link) OnParent() bool {
	return r.Type == LinkMacvlan || r.Type == LinkIPvlan || r.Type == LinkMoved
}

// Outside tells whether what the link carries leaves by another namespace than its own
// (Home), where it has something to itself: a VNI or a UDP port.
func (r Link) Outside() bool { return r.VXLAN != nil || r.Type == LinkWireGuard }

// Home is the namespace by which the packets leave that carry what is sent through the link,
// or that its parent is in.
func (r Link) Home() string {
	if r.VXLAN != nil {
		return r.VXLAN.Home
	}
	return HostNamespace
}

func (r Link) Key() Key      { return key(KindLink, where(r.Namespace), r.Name) }
func (r Link) Space() string { return r.Namespace }

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
	if r.Parent != nil {
		b.WriteString(r.Parent.String())
	}
	if r.VXLAN != nil {
		b.WriteString(r.VXLAN.String())
	}
	return b.String()
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

// Parent is the link of the host that another one hangs on (IFLA_LINK), and how.
type Parent struct {
	Name string
	Mode string // of a macvlan: bridge, private, vepa, passthru; of an ipvlan: l2, l3, l3s
	Flag string // of an ipvlan: bridge, private, vepa
	VLAN int    // of a VLAN: its ID
}

// String is how ip-link(8) says it, with a space before.
func (p Parent) String() string {
	out := " parent " + p.Name
	for _, f := range []struct{ name, value string }{{"mode", p.Mode}, {"flag", p.Flag}} {
		if f.value != "" {
			out += " " + f.name + " " + f.value
		}
	}
	if p.VLAN != 0 {
		out += fmt.Sprintf(" id %d", p.VLAN)
	}
	return out
}

// VXLAN is a tunnel that carries frames to other hosts over UDP (RFC 7348). Wherever its
// link is, its packets leave and come by Home, and by no other namespace: the host's, or that
// of a tunnel. It learns nothing from packets: where frames go, an FDB says.
type VXLAN struct {
	ID    uint32     // of the network (VNI)
	Port  uint16     // UDP port of all hosts
	Local netip.Addr // this host's address in its packets
	Home  string
}

// String is how ip-link(8) says it, with a space before.
func (v VXLAN) String() string {
	s := fmt.Sprintf(" id %d local %s dstport %d", v.ID, v.Local, v.Port)
	if v.Home != HostNamespace {
		s += " by " + v.Home
	}
	return s
}

// Addr is an address on a link. Prefix holds the host's address and the length
// of the subnet: 172.17.0.1/16.
type Addr struct {
	Namespace string
	Link      string
	Prefix    netip.Prefix
	// Detect has the kernel look for duplicates of an IPv6 address (RFC 4862, section
	// 5.4), where others than IPAM give out addresses too. Elsewhere it would only hold
	// the address back.
	Detect bool
}

func (r Addr) Key() Key      { return key(KindAddr, where(r.Namespace), r.Link, r.Prefix.String()) }
func (r Addr) Space() string { return r.Namespace }

func (r Addr) String() string {
	s := fmt.Sprintf("addr %s %s %s", where(r.Namespace), r.Link, r.Prefix)
	if r.Detect {
		s += " detect duplicates"
	}
	return s
}

// Sysctl is a value below /proc/sys. It is never set back when no longer
// wanted, except that it vanishes with its namespace or interface.
type Sysctl struct {
	Namespace string
	Path      string // "net/ipv4/ip_forward"
	Value     string
}

func (r Sysctl) Key() Key      { return key(KindSysctl, where(r.Namespace), r.Path) }
func (r Sysctl) Space() string { return r.Namespace }

func (r Sysctl) String() string {
	return fmt.Sprintf("sysctl %s %s = %s", where(r.Namespace), r.Path, r.Value)
}

// Loopback lets the host's loopback interface take IPv4 packets of up to Packets
// bytes before they are cut to its MTU (ip-link(8): gso_ipv4_max_size): what the
// host sends to a published port of its own 127.0.0.1 starts out there. It is
// wanted only in place of the kernel's default, since another size is the
// administrator's, and never set back.
type Loopback struct{ Packets int }

func (r Loopback) Key() Key      { return key(KindLoopback, where(HostNamespace), "lo") }
func (r Loopback) Space() string { return HostNamespace }

func (r Loopback) String() string {
	return fmt.Sprintf("loopback %s lo%s", where(HostNamespace), PacketSizes{IPv4: r.Packets})
}
