package model

import (
	"fmt"
	"net/netip"
	"strconv"
)

// Protocol is a transport protocol that has ports, by the name Docker uses.
type Protocol string

// The protocols a port can be published for.
const (
	TCP  Protocol = "tcp"
	UDP  Protocol = "udp"
	SCTP Protocol = "sctp"
)

// Forwardable tells whether a user-space forwarder can serve the protocol. The
// several addresses of an SCTP association are beyond one.
func (p Protocol) Forwardable() bool { return p == TCP || p == UDP }

// Number returns the protocol's number in the header of an IP packet; 0 for a
// protocol that is not published.
func (p Protocol) Number() byte {
	switch p {
	case TCP:
		return 6
	case UDP:
		return 17
	case SCTP:
		return 132
	}
	return 0
}

// PortRange is First to Last, both included. The zero value is no port at all;
// a single port has First equal to Last.
type PortRange struct {
	First, Last uint16
}

// Port returns the range of one port.
func Port(p uint16) PortRange { return PortRange{p, p} }

// IsZero tells whether r is no port at all.
func (r PortRange) IsZero() bool { return r == PortRange{} }

// Len counts the ports; 0 for the zero value.
func (r PortRange) Len() int {
	if r.IsZero() {
		return 0
	}
	return int(r.Last) - int(r.First) + 1
}

// Contains tells whether all of o lies in r.
func (r PortRange) Contains(o PortRange) bool { return r.First <= o.First && o.Last <= r.Last }

// Overlaps tells whether r and o have a port in common.
func (r PortRange) Overlaps(o PortRange) bool { return r.First <= o.Last && o.First <= r.Last }

// String returns "80" or "8000-8010".
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// PortSpec is one publication as the user asks for it.
type PortSpec struct {
	Protocol  Protocol
	Container PortRange
	Host      netip.Addr // invalid: the default of the network that publishes it
	// HostPorts are as many as Container's and map one to one; or, for a single
	// container port, those of which any free one will do; or zero, where any free
	// port of the host will do.
	HostPorts PortRange
}

// Fixed tells whether the host ports are settled by the user.
func (s PortSpec) Fixed() bool {
	return !s.HostPorts.IsZero() && s.HostPorts.Len() == s.Container.Len()
}

// PortBinding is container ports and the host ports that lead to them, one to
// one.
type PortBinding struct {
	Protocol  Protocol
	Container PortRange
	Host      netip.Addr // unspecified (0.0.0.0 or ::): every address of its family
	// HostFirst leads to Container.First. 0: no port of the host does, the container
	// is reached at its own address (gateway mode "routed").
	HostFirst uint16
	// Endpoint is whose container's address they lead to: they come in by its network.
	Endpoint EndpointID `json:",omitempty"`
}

// HostPorts returns the host's side; zero if there is none.
func (b PortBinding) HostPorts() PortRange {
	if b.HostFirst == 0 {
		return PortRange{}
	}
	return PortRange{b.HostFirst, b.HostFirst + (b.Container.Last - b.Container.First)}
}
