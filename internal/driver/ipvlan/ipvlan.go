// Package ipvlan is the driver of ipvlan networks: each endpoint is an ipvlan interface
// (ip-link(8)) on an interface of the host, its parent. All have the parent's MAC
// address, so it works where a switch or an access point admits only one.
//
//	host:  eth0 ═══ LAN        parent and children do not hear one another
//	        ╠═ eth0  :container
//	        ╚═ eth0  :container
//
// It writes rows and performs no effect.
package ipvlan

import (
	"iter"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Option keys of the driver.
const (
	OptionMode = "ipvlan_mode"
	OptionFlag = "ipvlan_flag"
)

// The modes and flags, by the kernel's words.
const (
	modeL2  = "l2"  // containers are on the parent's network
	modeL3  = "l3"  // the parent routes to them; nobody hears a broadcast
	modeL3S = "l3s" // like l3, and through the host's netfilter

	flagBridge  = "bridge"  // the interfaces of one parent hear one another
	flagPrivate = "private" // they do not
	flagVEPA    = "vepa"    // by way of a switch that sends their frames back
)

// driverName is what users call it, and networks of it are stored with.
const driverName = "ipvlan"

// Driver is the ipvlan driver.
type Driver struct{}

// Name implements driver.Driver.
func (Driver) Name() string { return driverName }

// Traits implements driver.Driver. The gateway is a machine of the parent's network:
// there is one if the user names it.
func (Driver) Traits() driver.Traits {
	return driver.Traits{Addresses: true, Interface: true, Names: true}
}

// Parent implements driver.Parented.
func (Driver) Parent(n model.Network) string {
	if p := n.Options[driver.OptionParent]; p != "" {
		return p
	}
	return dummy(n)
}

// OwnMAC implements driver.Parented.
func (Driver) OwnMAC(model.Network) bool { return false }

// dummy is the name of the parent of a network that names none.
func dummy(n model.Network) string { return "di-" + model.Short(n.ID) }

// LeadsOut implements driver.DeviceRouter: what routes by the parent needs no gateway.
func (Driver) LeadsOut(n model.Network) bool {
	m, _, err := mode(n)
	return err == nil && m != modeL2 && !n.Internal
}

// mode returns the network's mode and flag. Errors are in Docker's words.
func mode(n model.Network) (mode, flag string, err error) {
	mode, flag = modeL2, flagBridge
	switch m := n.Options[OptionMode]; m {
	case "":
	case modeL2, modeL3, modeL3S:
		mode = m
	default:
		return "", "", model.Errorf(model.Unfit, "requested ipvlan mode '%s' is not valid, 'l2' mode is the ipvlan driver default", m)
	}
	switch f := n.Options[OptionFlag]; f {
	case "":
	case flagBridge, flagPrivate, flagVEPA:
		flag = f
	default:
		return "", "", model.Errorf(model.Unfit, "requested ipvlan flag '%s' is not valid, 'bridge' is the ipvlan driver default", f)
	}
	return mode, flag, nil
}

// Settle implements driver.Settler. A network without a parent is internal.
func (Driver) Settle(n model.Network, host facts.Host) (model.Network, error) {
	if _, _, err := mode(n); err != nil {
		return n, err
	}
	parent := n.Options[driver.OptionParent]
	n.Internal = n.Internal || parent == ""
	return n, driver.CheckParent(driverName, parent, host)
}

// Validate implements driver.Driver.
func (d Driver) Validate(n model.Network, others iter.Seq[model.Network]) error {
	if _, _, err := mode(n); err != nil {
		return err
	}
	if err := driver.CheckPools(n); err != nil {
		return err
	}
	parent := d.Parent(n)
	if err := driver.CheckTaken(n, parent, others); err != nil {
		return err
	}
	for other := range others {
		if other.Driver == driverName && !other.ConfigOnly && other.ID != n.ID && d.Parent(other) == parent {
			return &model.Error{Op: "network.create", Kind: model.Unfit,
				Err: model.Errorf(model.Unfit, "network %s is already using parent interface %s", dummy(other), parent),
				Who: "it is called " + other.Name}
		}
	}
	return nil
}

// Plan implements driver.Driver. A parent that is there, or is a VLAN, is not the
// network's alone: see driver.PlanParent.
func (d Driver) Plan(v driver.View) ([]desired.Row, error) {
	parent := d.Parent(v.Network)
	if v.Endpoint == nil {
		if v.Network.Options[driver.OptionParent] != "" {
			return nil, nil
		}
		return driver.PlanDummy(parent), nil
	}
	m, f, err := mode(v.Network)
	if err != nil {
		return nil, err
	}
	return driver.OnLAN(v, desired.LinkIPvlan, desired.Parent{Name: parent, Mode: m, Flag: f}, 0)
}

// LeaseDevice implements driver.Leaser: of the modes only l2 passes broadcasts on.
func (d Driver) LeaseDevice(n model.Network) (string, error) {
	m, _, err := mode(n)
	switch {
	case err != nil:
		return "", err
	case m != modeL2:
		return "", driver.NoLeases("in mode "+m+" containers hear no broadcasts", "use the mode l2: -o ipvlan_mode=l2")
	case n.Options[driver.OptionParent] == "":
		return "", driver.NoLeases("it has no parent, and so leads nowhere", "name the interface behind which the server is: -o parent=eth0")
	}
	return d.Parent(n), nil
}
