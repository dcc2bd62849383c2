// Package uplink makes interfaces of the host ports of bridges, and gives them back
// (rtnetlink(7), RTM_SETLINK with IFLA_MASTER).
//
// It must not take an interface that the host itself uses: whoever administers the host by
// it would be cut off. Apart from its bridge, its alias and whether it is up, nothing of an
// interface is changed.
//
// Ours: interfaces whose alias (IFLA_IFALIAS) begins with "linkspan-uplink:<instance>:".
// What follows is how the interface was before: "u" or "d" for up or down, and its alias. A
// VLAN that the engine has made bears that mark instead, and is not given back but removed.
package uplink

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/route"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

// ErrGone says that the host has no such interface now. It may come back: then Put succeeds.
var ErrGone = errors.New("the interface is gone")

// Missing is what Drift says of an interface that is not there.
const Missing = "missing"

// Drift says what is not as the row wants; empty if nothing is. That somebody takes the
// interface down is his own affair.
func Drift(c *rtnl.Conn, row desired.Uplink) (string, error) {
	have, err := link.Get(c, row.Link)
	if errors.Is(err, unix.ENODEV) {
		return Missing, nil
	}
	if err != nil {
		return "", err
	}
	bridge, err := link.Get(c, row.Bridge)
	if errors.Is(err, unix.ENODEV) || err == nil && have.Master != bridge.Index {
		return "is not a port of " + row.Bridge, nil
	}
	return "", err
}

// Put makes the interface a port of its bridge, and brings it up. One that is a port of it
// already is left as it is. The error is ErrGone if there is no such interface, and a
// model.Conflict that says why if it is not to be had.
func Put(c *rtnl.Conn, instance string, row desired.Uplink) error {
	have, err := link.Get(c, row.Link)
	if errors.Is(err, unix.ENODEV) {
		return refused(row, fmt.Errorf("uplink interface %s was not found on the host: %w", row.Link, ErrGone), "")
	}
	if err != nil {
		return err
	}
	bridge, err := link.Get(c, row.Bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", row.Bridge, err)
	}
	if have.Master == bridge.Index {
		return nil
	}
	if err := free(c, instance, row, have); err != nil {
		return err
	}
	alias, err := markOf(instance, have)
	if err != nil {
		return refused(row, err, "")
	}
	err = link.Change(c, have.Index, unix.IFF_UP, unix.IFF_UP, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFLA_IFALIAS, []byte(alias)) // the kernel takes it first
		ae.Uint32(unix.IFLA_MASTER, uint32(bridge.Index))
	})
	if err == nil {
		return nil
	}
	return errors.Join(refused(row, fmt.Errorf("adding interface %s to bridge %s failed: %w", row.Link, row.Bridge, err), busy(err)), GiveBack(c, instance, row.Link))
}

// busy says what the kernel means by an error.
func busy(err error) string {
	switch {
	case errors.Is(err, unix.EBUSY):
		return "something else has it to itself, such as macvlans that hang on it"
	case errors.Is(err, unix.EOPNOTSUPP):
		return "it cannot be a port of a bridge, as interfaces of wireless networks cannot"
	case errors.Is(err, unix.EINVAL):
		return "it is not an Ethernet interface"
	}
	return ""
}

// free refuses an interface on which something depends. An address or a route that the host
// has there would not work any more.
func free(c *rtnl.Conn, instance string, row desired.Uplink, have link.Info) error {
	addrs, err := addr.List(c, have.Index)
	if err != nil {
		return err
	}
	routes, err := route.All(c)
	if err != nil {
		return err
	}
	if why := inUse(instance, have, addrs, routes); why != "" {
		return refused(row, fmt.Errorf("interface %s cannot be the uplink of a bridge network: %s", row.Link, why), "")
	}
	return nil
}

// inUse says what depends on an interface; empty if nothing does. What is for the link alone
// does not count.
func inUse(instance string, have link.Info, addrs []addr.Info, routes []route.Info) string {
	_, ours := link.Owner(instance, have)
	switch {
	case have.Name == "lo":
		return "it is the host's loopback interface"
	case ours && have.Type != string(desired.LinkVLAN), have.Group == desired.PortGroup, have.Type == string(desired.LinkBridge):
		return "it is one of a network, and not one that leads out of the host"
	case have.Master != 0:
		return "it is a port of another bridge, or of a bond, already"
	}
	local := func(a netip.Addr) bool { return a.IsLinkLocalUnicast() || a.IsMulticast() }
	for _, a := range addrs {
		if a.Index == have.Index && !local(a.Prefix.Addr()) {
			return "the host has the address " + a.Prefix.String() + " on it"
		}
	}
	for _, r := range routes {
		if r.Index == have.Index && r.Type == unix.RTN_UNICAST && !local(r.Destination.Addr()) {
			return "the host's route to " + r.Destination.String() + " leads there"
		}
	}
	return ""
}

func refused(row desired.Uplink, err error, who string) error {
	return &model.Error{Op: "uplink.put", Kind: model.Conflict, Err: err, Who: who,
		Way: "choose an interface that the host does not need for itself, or share this one by a macvlan network: -d macvlan -o parent=" + row.Link}
}

// GiveBack makes an interface as it was before it was taken. One that is gone or was not
// taken is left alone.
func GiveBack(c *rtnl.Conn, instance, name string) error {
	have, err := link.Get(c, name)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	before, taken := Taken(instance, have.Alias)
	if !taken {
		return nil
	}
	up := uint32(0)
	if before.Up {
		up = unix.IFF_UP
	}
	err = link.Change(c, have.Index, up, unix.IFF_UP, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_MASTER, 0)
		ae.Bytes(unix.IFLA_IFALIAS, []byte(before.Alias))
	})
	if err == nil || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("give back interface %s: %w", name, err)
}

// Before is how an interface was that is an uplink now.
type Before struct {
	Up    bool
	Alias string
}

// maxAlias is the longest alias, in bytes: IFALIASZ less the final NUL.
const maxAlias = 255

func prefix(instance string) string { return "linkspan-uplink:" + instance + ":" }

// markOf returns the alias of an interface that is taken.
func markOf(instance string, have link.Info) (string, error) {
	if _, ours := link.Owner(instance, have); ours {
		return have.Alias, nil
	}
	if _, taken := Taken(instance, have.Alias); taken {
		return have.Alias, nil // somebody took it off its bridge
	}
	state := "d"
	if have.Up {
		state = "u"
	}
	alias := prefix(instance) + state + have.Alias
	if len(alias) > maxAlias {
		return "", fmt.Errorf("interface %s cannot be the uplink of a bridge network: its alias is too long to be kept beside our mark", have.Name)
	}
	return alias, nil
}

// Taken reads the alias of an interface: how the interface was before it was taken, and
// whether it was by this instance.
func Taken(instance, alias string) (Before, bool) {
	rest, ours := strings.CutPrefix(alias, prefix(instance))
	if !ours || rest == "" || rest[0] != 'u' && rest[0] != 'd' {
		return Before{}, false
	}
	return Before{Up: rest[0] == 'u', Alias: rest[1:]}, true
}

// Strays returns rows of the interfaces that were taken and that no delta wants.
func Strays(c *rtnl.Conn, instance string, wanted []desired.Delta) (rows []desired.Uplink, err error) {
	all, err := link.List(c)
	for _, i := range all {
		_, taken := Taken(instance, i.Alias)
		isThis := func(d desired.Delta) bool { return d.New.(desired.Uplink).Link == i.Name }
		if taken && !slices.ContainsFunc(wanted, isThis) {
			rows = append(rows, desired.Uplink{Link: i.Name})
		}
	}
	return rows, err
}
