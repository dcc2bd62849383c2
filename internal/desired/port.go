package desired

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/linkspan/linkspan/internal/model"
)

// Publish makes host ports lead to a container: a destination NAT in the
// kernel. A range stays a range and maps one to one, First to ToFirst.
type Publish struct {
	Protocol    model.Protocol
	Host        netip.Addr // address of the host; unspecified (0.0.0.0 or ::) is every local address of that family
	First, Last uint16     // host ports, both included
	To          netip.Addr // the container, of the family of Host
	ToFirst     uint16     // container port that First goes to
	Bridge      string     // the container's bridge
}

func (r Publish) Key() Key {
	return key(KindPolicy, "publish", string(r.Protocol), r.Host.String(), strconv.Itoa(int(r.First)))
}

func (r Publish) Space() string { return HostNamespace }

func (r Publish) String() string {
	return fmt.Sprintf("policy publish %s %s to %s on %s", r.Protocol,
		hostPorts(r.Host, r.First, r.Last), target(r.To, r.ToFirst, r.Last-r.First), r.Bridge)
}

// Served tells the firewall of host ports that a Forward serves in user space. They are
// published as others are: whoever may not have a published port does not get them.
type Served struct {
	Protocol    model.Protocol
	Host        netip.Addr // unspecified: every address of its family
	First, Last uint16
}

func (r Served) Key() Key {
	return key(KindPolicy, "served", string(r.Protocol), r.Host.String(), strconv.Itoa(int(r.First)))
}

func (r Served) Space() string { return HostNamespace }

func (r Served) String() string {
	return fmt.Sprintf("policy served %s %s", r.Protocol, hostPorts(r.Host, r.First, r.Last))
}

// Forward is a publication that the kernel cannot make: a user-space forwarder
// listens on the host and connects to the container. It serves ::1, IPv6 clients of a
// container that has IPv4 only, and beside a Publish on every address of a family what
// that does not reach (Rest); or a whole port in a Publish's place. Its host ports lie within a Reserve: whoever holds that
// also listens.
type Forward struct {
	Protocol    model.Protocol
	Host        netip.Addr
	First, Last uint16
	To          netip.Addr
	ToFirst     uint16
	// Rest limits it, with Host unspecified, to what no rule can translate: of IPv6 ::1
	// and the link-local addresses of the host, of IPv4 datagrams to a broadcast address.
	Rest bool `json:",omitempty"`
	// Transparent lets the container see the client's own address, if that is of the
	// container's family: the proxy speaks under it (ip(7), IP_TRANSPARENT). It does not
	// for clients of this host's loopback and of Subnet, the container's own network,
	// whose answers would not come back.
	Transparent bool         `json:",omitempty"`
	Subnet      netip.Prefix `json:",omitzero"`
	// Bridge is the container's, with Rest and IPv4: broadcasts that come in by it are left
	// out, since the container hears them itself.
	Bridge string `json:",omitempty"`
}

func (r Forward) Key() Key {
	return key(KindForward, string(r.Protocol), r.Host.String(), strconv.Itoa(int(r.First)))
}

func (r Forward) Space() string { return HostNamespace }

func (r Forward) String() string {
	s := fmt.Sprintf("forward %s %s to %s", r.Protocol, hostPorts(r.Host, r.First, r.Last), target(r.To, r.ToFirst, r.Last-r.First))
	switch {
	case r.Rest && r.Host.Is4():
		s += " of broadcasts not by " + r.Bridge
	case r.Rest:
		s += " at ::1 and link-local addresses"
	case r.Transparent:
		s += " transparently but in " + r.Subnet.String()
	}
	return s
}

// Reserve holds host ports against other processes of the host. It is reserved
// before the commit, since somebody else may hold the port.
type Reserve struct {
	Protocol    model.Protocol
	Addr        netip.Addr // unspecified: all addresses of its family
	First, Last uint16
}

func (r Reserve) Key() Key {
	return key(KindReserve, string(r.Protocol), r.Addr.String(), strconv.Itoa(int(r.First)))
}

func (r Reserve) Space() string { return HostNamespace }

func (r Reserve) String() string {
	return fmt.Sprintf("reserve %s %s", r.Protocol, hostPorts(r.Addr, r.First, r.Last))
}

// Collides tells whether two reservations cannot both be held: they have a port
// of one protocol in common, at overlapping addresses of one family.
func (r Reserve) Collides(o Reserve) bool {
	return r.Protocol == o.Protocol && r.First <= o.Last && o.First <= r.Last && r.Addr.Is4() == o.Addr.Is4() &&
		(r.Addr == o.Addr || r.Addr.IsUnspecified() || o.Addr.IsUnspecified())
}

// PortTaken is why a Reserve cannot be had: somebody outside has one of its ports,
// or none of them can be had at all.
type PortTaken struct {
	Row  Reserve
	Port uint16 // the port of Row it is about; 0: every port at Row.Addr
	Who  string // "process nginx, pid 123"; empty if it cannot be told
	Err  error  // the system's own: "address already in use"
}

// Error says it in Docker's words.
func (h *PortTaken) Error() string {
	port := h.Port
	if port == 0 {
		port = h.Row.First
	}
	return fmt.Sprintf("failed to bind host port %s/%s: %v", netip.AddrPortFrom(h.Row.Addr, port), h.Row.Protocol, h.Err)
}

// Unwrap returns the system's error.
func (h *PortTaken) Unwrap() error { return h.Err }

// hostPorts prints "0.0.0.0:80" or "[::]:8000-8010".
func hostPorts(addr netip.Addr, first, last uint16) string {
	s := netip.AddrPortFrom(addr, first).String()
	if last != first {
		s += "-" + strconv.Itoa(int(last))
	}
	return s
}

// target prints where a range of the given extent goes.
func target(to netip.Addr, first, extent uint16) string {
	return hostPorts(to, first, first+extent)
}
