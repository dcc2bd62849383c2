package driver

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
)

// HostMember is a Driver on some of whose networks the host is a machine of its own,
// with addresses that it gets as containers do.
type HostMember interface {
	// HostAddresses returns the addresses that the host is to have on n, and whether it
	// is to have one of every subnet where none of them is. Both are empty if it is not
	// on n. What is chosen is kept among the auxiliary addresses of the subnet, under
	// HostAddressName. Errors are the user's.
	HostAddresses(n model.Network) (named []netip.Addr, every bool, err error)
}

// HostAddressName is what the host's own address is called among those that are
// reserved in a subnet.
const HostAddressName = "com.linkspan.macvlan.host"

// HostAddress returns the host's own address in a subnet; invalid if it has none.
func HostAddress(p model.Pool) netip.Addr { return p.Aux[HostAddressName] }
