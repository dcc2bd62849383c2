package driver

import (
	"fmt"
	"iter"

	"github.com/linkspan/linkspan/internal/model"
)

// OptionUplink names the interface of the host that leads out of a bridge network: "eth1",
// or "eth1.50" for the VLAN 50 of eth1. The network is then part of that interface's.
const OptionUplink = "com.linkspan.bridge.uplink"

// Uplinked is a Driver some of whose networks lead out by an interface of the host that is a
// port of theirs, and so are part of a network of others.
type Uplinked interface {
	// Uplink returns the interface; empty if n has none.
	Uplink(n model.Network) string
}

// CheckTaken refuses a network that hangs on an interface, or has it for its uplink, if that
// is another network's uplink, or it would be the uplink where another network hangs: a
// bridge has its ports to itself. name is the interface.
func CheckTaken(n model.Network, name string, others iter.Seq[model.Network]) error {
	for other := range others {
		if other.ID == n.ID || other.ConfigOnly {
			continue
		}
		uplink := other.Options[OptionUplink] == name
		if uplink || n.Options[OptionUplink] == name && other.Options[OptionParent] == name {
			return &model.Error{Op: "network.create", Kind: model.Conflict,
				Err: fmt.Errorf("interface %s is already in use by network %s (%s)", name, other.Name, model.Short(other.ID)),
				Who: "an uplink is a port of one bridge, and nothing else hangs on it",
				Way: "remove that network, choose another interface, or give each a VLAN: " + name + ".50"}
		}
	}
	return nil
}
