package driver

import (
	"fmt"

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
	// only does not speak for its neighbours, its gateway and the host. The default.
	SecurityCapability PortSecurity = "capability"
	// SecurityOff looks at nothing.
	SecurityOff PortSecurity = "off"
)

// PortSecurityOf returns what holds for a container with the options endpoint on
// a network with the options network; either may be nil. Errors are Invalid, and
// name what can be chosen.
func PortSecurityOf(network, endpoint map[string]string) (PortSecurity, error) {
	result := SecurityCapability
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
