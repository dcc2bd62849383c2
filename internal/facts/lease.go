package facts

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
)

// LeaseRequest is for whom a DHCP server is asked, and where.
type LeaseRequest struct {
	Endpoint model.EndpointID
	IPv6     bool       // an address of IPv6 is asked for
	Device   string     // the interface of the host that the server is behind
	MAC      string     // empty: that of the device
	ClientID []byte     // option 61
	Hostname string     // option 12; empty: none
	Want     netip.Addr // the address it had before, or its user asks for; invalid: none
	Must     bool       // it is Want or none
}

// Family is that of the address which is asked for.
func (r LeaseRequest) Family() model.Family {
	if r.IPv6 {
		return model.IPv6
	}
	return model.IPv4
}

// HeldLease is a lease that was given and not returned.
type HeldLease struct {
	Request LeaseRequest
	Lease   model.Lease
	// Lost says why it is not valid any more; a new one is then being asked for.
	Lost string
}
