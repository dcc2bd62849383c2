// Package macvlan is the driver of macvlan networks: each endpoint is a macvlan
// interface (ip-link(8)) on an interface of the host, its parent, and so a machine of
// its own on the parent's network.
//
//	host:  eth0 ═══ LAN        parent and children do not hear one another,
//	        ╠═ eth0  :container    see OptionHost
//	        ╚═ eth0  :container
//
// It writes rows and performs no effect.
package macvlan

import (
	"iter"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// OptionMode is how the interfaces of one parent hear one another: a mode.
const OptionMode = "macvlan_mode"

// The modes, by the kernel's words.
const (
	modeBridge   = "bridge"   // directly
	modePrivate  = "private"  // not at all
	modeVEPA     = "vepa"     // by way of a switch that sends their frames back
	modePassthru = "passthru" // there is one, and it has the parent's own address
)

// driverName is what users call it, and networks of it are stored with.
const driverName = "macvlan"

// Driver is the macvlan driver.
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
	return "dm-" + model.Short(n.ID)
}

// OwnMAC implements driver.Parented.
func (Driver) OwnMAC(n model.Network) bool { return n.Options[OptionMode] != modePassthru }

// mode returns the network's mode. Errors are in Docker's words.
func mode(n model.Network) (string, error) {
	switch m := n.Options[OptionMode]; m {
	case "":
		return modeBridge, nil
	case modeBridge, modePrivate, modeVEPA, modePassthru:
		return m, nil
	default:
		return "", model.Errorf(model.Unfit, "requested macvlan mode '%s' is not valid, 'bridge' mode is the macvlan driver default", m)
	}
}

// Settle implements driver.Settler. A network without a parent is internal.
func (Driver) Settle(n model.Network, host facts.Host) (model.Network, error) {
	if _, err := mode(n); err != nil {
		return n, err
	}
	parent := n.Options[driver.OptionParent]
	n.Internal = n.Internal || parent == ""
	return n, driver.CheckParent(driverName, parent, host)
}

// Validate implements driver.Driver.
func (d Driver) Validate(n model.Network, others iter.Seq[model.Network]) error {
	own, err := mode(n)
	if err != nil {
		return err
	}
	if _, err := driver.MTU(n); err != nil {
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
		if other.Driver != driverName || other.ConfigOnly || other.ID == n.ID || d.Parent(other) != parent {
			continue
		}
		if own == modePassthru {
			return model.Errorf(model.Unfit, "cannot use mode passthru, macvlan network %s is already using parent interface %s", other.ID, parent)
		}
		if theirs, _ := mode(other); theirs == modePassthru {
			return model.Errorf(model.Unfit, "macvlan network %s is already using parent interface %s in mode passthru", other.ID, parent)
		}
	}
	return nil
}

// Plan implements driver.Driver. A parent that is there, or is a VLAN, is not the
// network's alone: see driver.PlanParent.
func (d Driver) Plan(v driver.View) ([]desired.Row, error) {
	m, err := mode(v.Network)
	if err != nil {
		return nil, err
	}
	mtu, err := driver.MTU(v.Network)
	if err != nil {
		return nil, err
	}
	parent := desired.Parent{Name: d.Parent(v.Network), Mode: m}
	if v.Endpoint == nil {
		return planNetwork(v.Network, parent, mtu), nil
	}
	rows, err := driver.OnLAN(v, desired.LinkMacvlan, parent, mtu)
	if err != nil || !onHost(v.Network) {
		return rows, err
	}
	return append(rows, planHostRoutes(v.Network, *v.Endpoint)...), nil
}

// planNetwork returns the rows of the network itself.
func planNetwork(n model.Network, parent desired.Parent, mtu int) []desired.Row {
	var rows []desired.Row
	if n.Options[driver.OptionParent] == "" {
		rows = driver.PlanDummy(parent.Name)
	}
	if onHost(n) {
		rows = append(rows, planHost(n, parent, mtu)...)
	}
	return rows
}

// LeaseDevice implements driver.Leaser.
func (d Driver) LeaseDevice(n model.Network) (string, error) {
	if n.Options[driver.OptionParent] == "" {
		return "", driver.NoLeases("it has no parent, and so leads nowhere", "name the interface behind which the server is: -o parent=eth0")
	}
	return d.Parent(n), nil
}
