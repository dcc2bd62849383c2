package desired

import (
	"fmt"
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
)

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

func (r Resolver) Key() Key      { return key(KindResolver, r.Namespace) }
func (r Resolver) Space() string { return r.Namespace }

func (r Resolver) String() string {
	s := fmt.Sprintf("resolver %s networks=%v links=%v servers=%v internal=%t ndots=%d",
		r.Namespace, short(r.Networks), r.Links, r.Servers, r.Internal, r.NDots)
	if len(r.Routes) > 0 {
		s += fmt.Sprintf(" routes=%v", r.Routes)
	}
	return s
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

func (r Name) Key() Key      { return key(KindName, string(r.Network), r.Name, string(r.Endpoint)) }
func (r Name) Space() string { return HostNamespace }

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
