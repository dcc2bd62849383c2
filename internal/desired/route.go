package desired

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// AnswerTable is the routing table of answers that must not leave by the routes of all
// others: those of the main table.
const AnswerTable uint32 = 0x6c73

// Route is a unicast route, in the main table or in another one of ours, to which a Lookup
// leads. There its gateway is taken to be on the link.
type Route struct {
	Namespace   string
	Table       uint32       // 0: the main table
	Destination netip.Prefix // 0.0.0.0/0 or ::/0 for a default route
	Gateway     netip.Addr
	Link        string
}

func (r Route) Key() Key {
	if r.Table != 0 {
		return key(KindRoute, where(r.Namespace), r.Destination.String(), strconv.FormatUint(uint64(r.Table), 10))
	}
	return key(KindRoute, where(r.Namespace), r.Destination.String())
}

func (r Route) Space() string { return r.Namespace }

func (r Route) String() string {
	s := fmt.Sprintf("route %s %s dev %s", where(r.Namespace), r.Destination, r.Link)
	if r.Gateway.IsValid() {
		s += " via " + r.Gateway.String()
	}
	if r.Table != 0 {
		s += fmt.Sprintf(" table %d", r.Table)
	}
	return s
}

// Rule is a policy routing rule of the host (ip-rule(8)), one for each family: what comes
// in by Link with TransparentMark is delivered to this host, whomever it is addressed
// to.
type Rule struct {
	Link       string
	IPv4, IPv6 bool
}

func (r Rule) Key() Key      { return key(KindRule, r.Link) }
func (r Rule) Space() string { return HostNamespace }

func (r Rule) String() string {
	return fmt.Sprintf("rule iif %s fwmark %#x/%#[2]x local ipv4=%t ipv6=%t", r.Link, TransparentMark, r.IPv4, r.IPv6)
}

// Lookup is a policy routing rule of a namespace of ours (ip-rule(8)): packets of a family
// that are all it says are routed by a table.
type Lookup struct {
	Namespace string
	Family    model.Family
	From      netip.Addr     // the source; invalid: any
	Mark      uint32         // the packet's mark; 0: any
	Protocol  model.Protocol // what comes from a port of this host, Port; empty: any
	Port      uint16
	Table     uint32 // 0: the main table, but its default route
}

func (r Lookup) Key() Key { return key(KindRule, where(r.Namespace), r.text()) }

func (r Lookup) Space() string { return r.Namespace }

func (r Lookup) String() string { return "rule " + where(r.Namespace) + " " + r.text() }

func (r Lookup) text() string {
	s := fmt.Sprintf("ipv%d", r.Family)
	if r.From.IsValid() {
		s += " from " + r.From.String()
	}
	if r.Mark != 0 {
		s += fmt.Sprintf(" fwmark %#x", r.Mark)
	}
	if r.Protocol != "" {
		s += fmt.Sprintf(" ipproto %s sport %d", r.Protocol, r.Port)
	}
	if r.Table == 0 {
		return s + " lookup main suppress_prefixlength 0"
	}
	return s + fmt.Sprintf(" lookup %d", r.Table)
}

// Neigh is a permanent neighbour entry.
type Neigh struct {
	Namespace string
	Link      string
	IP        netip.Addr
	MAC       string
}

func (r Neigh) Key() Key      { return key(KindNeigh, where(r.Namespace), r.Link, r.IP.String()) }
func (r Neigh) Space() string { return r.Namespace }

func (r Neigh) String() string {
	return fmt.Sprintf("neigh %s %s %s lladdr %s", where(r.Namespace), r.Link, r.IP, r.MAC)
}

// FDB is an entry of a VXLAN's forwarding database (bridge(8)): frames to MAC go to the
// host whose address is Remote.
type FDB struct {
	Namespace string
	Link      string
	MAC       string
	Remote    netip.Addr
}

func (r FDB) Key() Key      { return key(KindFDB, where(r.Namespace), r.Link, r.MAC) }
func (r FDB) Space() string { return r.Namespace }

func (r FDB) String() string {
	return fmt.Sprintf("fdb %s %s %s dst %s", where(r.Namespace), r.Link, r.MAC, r.Remote)
}

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

func (r Announce) Key() Key      { return key(KindAnnounce, where(r.Namespace), r.Link) }
func (r Announce) Space() string { return r.Namespace }

func (r Announce) String() string {
	return fmt.Sprintf("announce %s %s %v lladdr %s %d times, every %s", where(r.Namespace), r.Link, r.Addrs, r.MAC, r.Count, r.Every)
}
