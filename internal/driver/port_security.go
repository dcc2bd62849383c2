package driver

import (
	"fmt"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// OptionPortSecurity says, on a network and on a membership of one, in whose name
// a container may speak there. The membership's word goes before the network's.
const OptionPortSecurity = "com.linkspan.port_security"

// PortSecurity is in whose name a container may speak on a network.
type PortSecurity string

// What there is to choose from.
const (
	// SecurityStrict ties every container to its own MAC address and addresses.
	SecurityStrict PortSecurity = "strict"
	// SecurityCapability does so unless the container was given NET_ADMIN: that one
	// only does not speak for its neighbours, its gateway and the host. The default, but
	// on a network with an uplink: there, neighbours are not known.
	SecurityCapability PortSecurity = "capability"
	// SecurityOff looks at nothing.
	SecurityOff PortSecurity = "off"
)

// PortSecurityOf returns what holds for a container with the options endpoint on
// a network with the options network; either may be nil. Errors are Invalid, and
// name what can be chosen.
func PortSecurityOf(network, endpoint map[string]string) (PortSecurity, error) {
	result := SecurityCapability
	if network[OptionUplink] != "" {
		result = SecurityStrict
	}
	for _, options := range []map[string]string{network, endpoint} {
		text, given := options[OptionPortSecurity]
		if !given {
			continue
		}
		switch p := PortSecurity(text); p {
		case SecurityStrict, SecurityCapability, SecurityOff:
			result = p
		default:
			return "", &model.Error{Kind: model.Invalid, Err: fmt.Errorf("invalid %s value: %.64q", OptionPortSecurity, text),
				Way: fmt.Sprintf("choose %s, %s or %s", SecurityStrict, SecurityCapability, SecurityOff)}
		}
	}
	return result, nil
}

// Explain says what was dropped, as the end of "it sends ...".
func Explain(k facts.DropKind) string {
	switch k {
	case facts.DropMAC:
		return "frames under a MAC address that is not its own"
	case facts.DropARP:
		return "ARP for addresses that are not its own"
	case facts.DropSource:
		return "packets from addresses that are not its own"
	case facts.DropDiscovery:
		return "neighbour advertisements for addresses that are not its own"
	case facts.DropService:
		return "DHCP answers, router advertisements or redirects"
	case facts.DropFrame:
		return "frames that are neither IP nor ARP, or have a VLAN tag"
	case facts.DropFlood:
		return "more new addresses than the host can take note of"
	}
	return string(k)
}

// WayOut says what its user can do if a container is to send what was dropped.
func WayOut(k facts.DropKind, p PortSecurity, netAdmin bool) string {
	const off = "set " + OptionPortSecurity + "=" + string(SecurityOff) + " on the network or its endpoint"
	switch {
	case k == facts.DropFlood:
		return "have it use fewer addresses, or wait: what it sends to other containers passes"
	case p == SecurityStrict && netAdmin:
		return "set " + OptionPortSecurity + "=" + string(SecurityCapability) + " on the network or its endpoint"
	case p == SecurityStrict:
		return "run it with --cap-add NET_ADMIN and set " + OptionPortSecurity + "=" + string(SecurityCapability) + ", or " + off
	case !netAdmin:
		return "run it with --cap-add NET_ADMIN, or " + off
	}
	return "have it use names that no neighbour, its gateway or the host has, or " + off
}
