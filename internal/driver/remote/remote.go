// Package remote is the driver of networks whose driver is a plugin. What there is of
// such a network on the host is the plugin's affair. An endpoint's interface is made by it
// on the host, moved from there into the container, named and given its addresses, and
// moved back in the end.
//
//	host:  [whatever the plugin has] ── rc1234 ═▶ eth0  :container
//
// It writes rows and performs no effect; what the plugin says are facts.
package remote

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// Driver stands for all plugins, or for the one that networks name. The zero value is for
// a driver.Set.
type Driver struct{ plugin string }

// Name implements driver.Driver; that of all plugins is empty.
func (d Driver) Name() string { return d.plugin }

// Called implements driver.Outside.
func (Driver) Called(plugin string) driver.Driver { return Driver{plugin} }

// Traits implements driver.Driver.
func (Driver) Traits() driver.Traits {
	return driver.Traits{Addresses: true, Gateway: true, Interface: true, Names: true}
}

// Validate implements driver.Driver. What options mean, the plugin knows.
func (Driver) Validate(model.Network, iter.Seq[model.Network]) error { return nil }

// Plan implements driver.Driver. Routes are the sandbox's, since several networks may name
// the same.
func (Driver) Plan(v driver.View) ([]desired.Row, error) {
	if v.Endpoint == nil || v.Learned.Joined == nil || v.Learned.Joined.Link == "" {
		return nil, nil
	}
	e, ns := *v.Endpoint, model.NamespaceOf(v.Sandbox.Container)
	rows := []desired.Row{desired.Link{
		Namespace: ns, Name: e.Interface, Type: desired.LinkMoved, MAC: e.MAC, Parent: &desired.Parent{Name: v.Learned.Joined.Link},
	}}
	var addrs []netip.Addr
	for _, f := range model.Families {
		a := e.Address(f)
		if !a.IsValid() {
			continue
		}
		rows = append(rows, desired.Addr{Namespace: ns, Link: e.Interface, Prefix: driver.Prefix(v, f)})
		addrs = append(addrs, a)
	}
	rows = append(rows, driver.Announcement(v, slices.Clone(addrs))...)
	for _, a := range e.LinkLocal {
		if a.Is6() && driver.IPv6Off(v.Sandbox, e) {
			continue
		}
		rows = append(rows, desired.Addr{Namespace: ns, Link: e.Interface, Prefix: driver.LinkLocalPrefix(a)})
	}
	settings, err := driver.InterfaceSettings(v)
	if err != nil {
		return nil, err
	}
	return driver.Override(rows, settings), nil
}
