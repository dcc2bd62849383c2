package facts

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
)

// LeaseRequest is for whom a DHCP server is asked, and where.
type LeaseRequest struct {
	Endpoint model.EndpointID
	Device   string     // the interface of the host that the server is behind
	MAC      string     // empty: that of the device
	ClientID []byte     // option 61
	Hostname string     // option 12; empty: none
	Want     netip.Addr // the address it had before, or its user asks for; invalid: none
	Must     bool       // it is Want or none
}

// HeldLease is a lease that was given and not returned.
type HeldLease struct {
	Request LeaseRequest
	Lease   model.Lease
	// Lost says why it is not valid any more; a new one is then being asked for.
	Lost string
}
