package driver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// OptionParent names the interface of the host that a network hangs on: "eth0", or
// "eth0.50" for the VLAN 50 (IEEE 802.1Q) of eth0.
const OptionParent = "parent"

// Parented is a Driver networks of which hang on an interface of the host, which several
// of them may share.
type Parented interface {
	// Parent returns the interface's name; empty if n hangs on none.
	Parent(n model.Network) string
	// OwnMAC tells whether containers have MAC addresses of their own on n. Otherwise
	// they have their parent's, and can have no other.
	OwnMAC(n model.Network) bool
}

// Settler is a Driver that has more to say of a new network than whether it is valid.
type Settler interface {
	// Settle returns the network with what follows from its options, and refuses what
	// the host cannot do. n has no pools yet.
	Settle(n model.Network, host facts.Host) (model.Network, error)
}

// DeviceRouter is a Driver some of whose networks lead out by their interface alone,
// without a gateway's address.
type DeviceRouter interface {
	// LeadsOut tells whether n is one of them.
	LeadsOut(n model.Network) bool
}

// ParentOf returns the interface that a network hangs on; false if it is on none.
func (s Set) ParentOf(n model.Network) (string, bool) {
	d, err := s.Find(n.Driver)
	p, ok := d.(Parented)
	if err != nil || !ok || n.ConfigOnly {
		return "", false
	}
	parent := p.Parent(n)
	return parent, parent != ""
}

// OwnMAC tells whether containers have MAC addresses of their own on a network.
func (s Set) OwnMAC(n model.Network) bool {
	d, err := s.Find(n.Driver)
	p, ok := d.(Parented)
	return err != nil || !ok || p.OwnMAC(n)
}

// LeadsOut tells whether a network leads out by its interface alone.
func (s Set) LeadsOut(n model.Network) bool {
	d, err := s.Find(n.Driver)
	r, ok := d.(DeviceRouter)
	return err == nil && ok && r.LeadsOut(n)
}

// PlanParent returns the rows of an interface that networks hang on. One that has the
// name of a VLAN is made if it is missing; one that is there stays when they are gone.
// Any other is the host's own, and nothing is planned for it.
func PlanParent(name string) []desired.Row {
	device, id, err := parseVLAN(name)
	if err != nil {
		return nil
	}
	return []desired.Row{desired.Link{
		Name: name, Type: desired.LinkVLAN, Adopt: true, Parent: &desired.Parent{Name: device, VLAN: id},
	}}
}

// PlanDummy returns the rows of a parent that leads nowhere. The host has no address on
// it, also none of IPv6.
func PlanDummy(name string) []desired.Row {
	return []desired.Row{
		desired.Link{Name: name, Type: desired.LinkDummy, MAC: MAC("dummy", name)},
		desired.Sysctl{Path: DisableIPv6(name), Value: "1"},
	}
}

// CheckParent refuses a parent that is not on the host and cannot be made there, in
// Docker's words. kind is the driver's name. An empty name is no parent.
func CheckParent(kind, parent string, host facts.Host) error {
	there := func(name string) bool { return host.Links == nil || slices.Contains(host.Links, name) }
	switch {
	case parent == "lo":
		return model.Errorf(model.Unfit, "loopback interface is not a valid %s parent link", kind)
	case parent == "":
		return nil
	case !ValidInterface(parent):
		return model.Errorf(model.Invalid, "invalid parent interface %.32q: a network interface's name has at most 15 characters, and no slashes, colons, percent signs and spaces", parent)
	case there(parent):
		return nil
	}
	device, _, err := parseVLAN(parent)
	if device != "" && !there(device) {
		err = fmt.Errorf("-o parent interface was not found on the host: %s", device)
	}
	if err == nil {
		return nil
	}
	return &model.Error{Op: "network.create", Kind: model.Unfit, Err: err,
		Who: "the host has no interface " + parent, Way: "see which ones there are: ip link"}
}

// Bounds of the ID of a VLAN (IEEE 802.1Q, table 9-2).
const minVLAN, maxVLAN = 1, 4094

// parseVLAN returns the interface and the ID that the name of a VLAN stands for:
// eth0.50. Errors are in Docker's words; device is empty if there is none in the name.
func parseVLAN(name string) (device string, id int, err error) {
	device, text, dotted := strings.Cut(name, ".")
	if !dotted {
		return "", 0, fmt.Errorf("invalid subinterface vlan name %s, example formatting is eth0.10", name)
	}
	if strings.Contains(text, ".") || device == "" {
		return "", 0, fmt.Errorf("required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received %s", name)
	}
	if id, err = strconv.Atoi(text); err != nil || strconv.Itoa(id) != text {
		return "", 0, fmt.Errorf("unable to parse a valid vlan id from: %s (ex. eth0.10 for vlan 10)", text)
	}
	if id < minVLAN || id > maxVLAN {
		return device, 0, fmt.Errorf("vlan id must be between %d-%d, received: %d", minVLAN, maxVLAN, id)
	}
	return device, id, nil
}
