package link

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

// Unfinished is the name of a link that hangs on a parent, until it is marked as ours.
// The kernel then gives it its own name and the mark at once, so there is none with that
// name and without a mark, and whatever has this one was left by a crash. Kernels before
// 6.15 also look for the name where the parent is: "eth0" would be taken there.
func Unfinished(instance, namespace string) string {
	sum := sha256.Sum256([]byte("unfinished\x00" + instance + "\x00" + namespace))
	return "lnk-" + hex.EncodeToString(sum[:])[:11]
}

// Among picks what there is of a wanted link from all links of its namespace: the one
// with its name, or one of ours that a container has renamed.
func (w Want) Among(all []Info) (Info, bool) {
	var named Info
	for _, i := range all {
		owner, ours := Owner(w.Instance, i)
		switch {
		case i.Name == w.Row.Name && (ours || w.Row.Namespace == desired.HostNamespace || halfMade(i, w.Row)):
			return i, true
		case i.Name == w.Row.Name:
			named = i
		case i.Name == "lo": // bears its namespace's mark
		case ours && owner == w.Owner && w.Row.OnParent() && isA(w.Row, i.Type):
			return i, true
		}
	}
	return named, named.Name != ""
}

func (w Want) lookOnParent() (State, error) {
	all, err := List(w.Conn)
	if err != nil {
		return State{}, err
	}
	have, there := w.Among(all)
	if !there {
		return State{}, unix.ENODEV
	}
	return State{Host: have}, nil
}

// putOnParent is Put of a link that hangs on another.
func (w Want) putOnParent() (State, error) {
	have, err := w.Look()
	if errors.Is(err, unix.ENODEV) {
		return w.makeOnParent()
	}
	if err != nil {
		return State{}, err
	}
	adopted, err := w.admit(have)
	if err != nil && w.Row.OnParent() {
		return State{}, w.nameTaken()
	}
	if err != nil || adopted {
		return have, err
	}
	if w.hangsWrong(have.Host) == "" {
		return have, w.settle(have)
	}
	if err := remove(w.Conn, have.Host.Name); err != nil {
		return State{}, err
	}
	return w.makeOnParent()
}

// makeOnParent makes the link where it belongs, down: it is never seen in the namespace
// of its parent.
func (w Want) makeOnParent() (State, error) {
	parent, err := Get(w.Parent, w.Row.Parent.Name)
	if errors.Is(err, unix.ENODEV) {
		return State{}, w.noParent()
	}
	if err != nil {
		return State{}, err
	}
	if w.Row.Type == desired.LinkMoved {
		return w.moveIn(parent)
	}
	name := Unfinished(w.Instance, w.Row.Namespace)
	if err = remove(w.Conn, name); err == nil {
		err = patiently(func() error { return w.createOnParent(parent, name) }, func(err error) bool {
			return w.needsAll() && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBUSY))
		})
	}
	if err != nil {
		return State{}, w.refused(parent, err)
	}
	made, err := Get(w.Conn, name)
	if err == nil {
		err = w.finish(made)
	}
	if errors.Is(err, unix.EEXIST) {
		err = w.nameTaken()
	}
	if err != nil {
		return State{}, errors.Join(err, remove(w.Conn, name))
	}
	made.Name, made.Alias = w.Row.Name, Mark(w.Instance, w.Owner)
	return State{Host: made}, nil
}

// maxIndex bounds the search for an index that is free.
const maxIndex = 1 << 24

// createOnParent makes the link under a name that it keeps until finish. Some tools, that
// of busybox among them, look for the parent in the container and would take the link for
// its own parent if both had one index. The kernel begins to count at the same number
// everywhere, so then another is asked for; before 6.15 it must be free on the host, too.
func (w Want) createOnParent(parent Info, name string) error {
	index := 0
	if w.File != nil && w.nextIndex() == parent.Index {
		index = parent.Index + 1
	}
	err := w.createWith(index, parent, name)
	for step := 1; errors.Is(err, unix.EEXIST) && index != 0; step *= 2 {
		if index += step; index > maxIndex {
			index = 0
		}
		err = w.createWith(index, parent, name)
	}
	return err
}

// nextIndex is the index that the kernel will give to the next link; 0 if that is not
// known.
func (w Want) nextIndex() int {
	all, err := List(w.Conn)
	if err != nil {
		return 0
	}
	last := 0
	for _, i := range all {
		last = max(last, i.Index)
	}
	return last + 1
}

func (w Want) createWith(index int, parent Info, name string) error {
	return w.Parent.Change(rtnl.Request{
		Type: unix.RTM_NEWLINK, Flags: netlink.Create | netlink.Excl, Header: header(index, 0, 0),
		Attrs: func(ae *netlink.AttributeEncoder) {
			ae.String(unix.IFLA_IFNAME, name)
			ae.Uint32(unix.IFLA_LINK, uint32(parent.Index))
			if w.File != nil {
				ae.Uint32(unix.IFLA_NET_NS_FD, uint32(w.File.Fd()))
			}
			if w.Row.MAC != "" {
				ae.Do(unix.IFLA_ADDRESS, macBytes(w.Row.MAC))
			}
			if w.Row.MTU != 0 {
				ae.Uint32(unix.IFLA_MTU, uint32(w.Row.MTU))
			}
			ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
				info.String(unix.IFLA_INFO_KIND, string(w.Row.Type))
				info.Nested(unix.IFLA_INFO_DATA, func(data *netlink.AttributeEncoder) error {
					return hang(data, w.Row)
				})
				return nil
			})
		},
	})
}

// finish gives a link its name and its mark.
func (w Want) finish(made Info) error {
	return w.Conn.Change(rtnl.Request{Type: unix.RTM_SETLINK, Header: header(made.Index, 0, 0), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, w.Row.Name)
		ae.Bytes(unix.IFLA_IFALIAS, []byte(Mark(w.Instance, w.Owner)))
	}})
}

// Exclusive is the mode of a macvlan that has its parent to itself as long as it exists.
const Exclusive = "passthru"

// Modes and flags of linux/if_link.h, by the words of ip-link(8).
var (
	macvlanModes = map[string]uint32{"private": 1, "vepa": 2, "bridge": 4, Exclusive: 8}
	ipvlanModes  = map[string]uint16{"l2": 0, "l3": 1, "l3s": 2}
	ipvlanFlags  = map[string]uint16{"bridge": 0, "private": 1, "vepa": 2}
)

// Attributes of linux/if_link.h (IFLA_MACVLAN_*, IFLA_IPVLAN_*, IFLA_VLAN_*).
const (
	macvlanMode = 1
	ipvlanMode  = 1
	ipvlanFlag  = 2
	vlanID      = 1
)

// hang writes how a link hangs on its parent.
func hang(ae *netlink.AttributeEncoder, row desired.Link) error {
	p := *row.Parent
	switch row.Type {
	case desired.LinkMacvlan:
		mode, known := macvlanModes[p.Mode]
		ae.Uint32(macvlanMode, mode)
		return unless(known, "macvlan mode", p.Mode)
	case desired.LinkIPvlan:
		mode, known := ipvlanModes[p.Mode]
		flag, knownFlag := ipvlanFlags[p.Flag]
		ae.Uint16(ipvlanMode, mode)
		ae.Uint16(ipvlanFlag, flag)
		return errors.Join(unless(known, "ipvlan mode", p.Mode), unless(knownFlag, "ipvlan flag", p.Flag))
	case desired.LinkVLAN:
		ae.Uint16(vlanID, uint16(p.VLAN))
		return nil
	}
	return fmt.Errorf("a %s does not hang on another link", row.Type)
}

func unless(known bool, what, value string) error {
	if known {
		return nil
	}
	return fmt.Errorf("unknown %s %q", what, value)
}

// hung reads what hang writes.
func (i *Info) hung(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch {
		case i.Type == string(desired.LinkMacvlan) && ad.Type() == macvlanMode:
			i.Parent.Mode = wordOf(macvlanModes, ad.Uint32())
		case i.Type == string(desired.LinkIPvlan) && ad.Type() == ipvlanMode:
			i.Parent.Mode = wordOf(ipvlanModes, ad.Uint16())
		case i.Type == string(desired.LinkIPvlan) && ad.Type() == ipvlanFlag:
			i.Parent.Flag = wordOf(ipvlanFlags, ad.Uint16())
		case i.Type == string(desired.LinkVLAN) && ad.Type() == vlanID:
			i.Parent.VLAN = int(ad.Uint16())
		}
	}
	return ad.Err()
}

func wordOf[T comparable](words map[string]T, value T) string {
	for word, v := range words {
		if v == value {
			return word
		}
	}
	return fmt.Sprint(value)
}

// hangsWrong says why the link is not on its parent as wanted; empty if it is. Of a
// parent that is away, or has another name now, nothing is said: what hangs on it works
// as before, or is gone with it.
func (w Want) hangsWrong(have Info) string {
	if w.Row.Type == desired.LinkMoved { // it hangs on nothing
		return ""
	}
	is := have.Parent
	if is.Name = w.Row.Parent.Name; is != *w.Row.Parent {
		return fmt.Sprintf("is%s instead of%s", is, *w.Row.Parent)
	}
	if w.Parent == nil { // nobody can be asked
		return ""
	}
	parent, err := Get(w.Parent, w.Row.Parent.Name)
	if err != nil || have.PeerIndex == parent.Index {
		return ""
	}
	// The kernel puts what is on a macvlan on that one's own parent.
	if parent.Type == string(desired.LinkMacvlan) && have.PeerIndex == parent.PeerIndex {
		return ""
	}
	return "is not on " + w.Row.Parent.Name
}

func (w Want) nameTaken() error {
	return &desired.NameTaken{Namespace: w.Row.Namespace, Link: w.Row.Parent.Name, Name: w.Row.Name}
}

// needsAll tells whether the link can be made only when no macvlan is left on its parent:
// some may just be taken down, together with their namespaces.
func (w Want) needsAll() bool {
	return w.Row.Type == desired.LinkIPvlan || w.Row.Type == desired.LinkMacvlan && w.Row.Parent.Mode == Exclusive
}

// noParent says, in Docker's words, that there is nothing to hang on.
func (w Want) noParent() error {
	p := w.Row.Parent.Name
	if w.Row.Type == desired.LinkMoved {
		return &model.Error{Kind: model.Unfit, Err: fmt.Errorf("failed to get link by name %q: Link not found", p),
			Who: "the plugin that is the network's driver was to make it", Way: "see what it says, and start the container anew"}
	}
	err := fmt.Errorf("the requested parent interface %s was not found on the Docker host", p)
	if w.Row.Type == desired.LinkVLAN {
		err = fmt.Errorf("-o parent interface was not found on the host: %s", p)
	}
	return &model.Error{Kind: model.Unfit, Err: err, Who: "it has gone, or has another name",
		Way: "containers get their interfaces when it is back: ip link show " + p}
}

// refused says why the kernel would not make the link.
func (w Want) refused(parent Info, err error) error {
	out := &model.Error{Kind: model.Unfit, Err: fmt.Errorf("failed to create the %s port: %w", w.Row.Type, err)}
	if w.Row.Type == desired.LinkVLAN {
		out.Err = fmt.Errorf("failed to create %s vlan link: %w", w.Row.Name, err)
	}
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		out.Who = fmt.Sprintf("this kernel has no links of the type %s", w.Row.Type)
		out.Way = "load its module, if there is one: modprobe " + module(w.Row.Type)
	case errors.Is(err, unix.EBUSY):
		out.Who = w.occupant(parent)
		out.Way = "choose another parent"
	case errors.Is(err, unix.EINVAL):
		out.Who = fmt.Sprintf("%s is not an Ethernet interface, or an interface in mode passthru has it to itself", parent.Name)
	}
	return out
}

func module(kind desired.LinkType) string {
	if kind == desired.LinkVLAN {
		return "8021q"
	}
	return string(kind)
}

// occupant says who has a parent that is not free.
func (w Want) occupant(parent Info) string {
	master, err := ByIndex(w.Parent, parent.Master)
	if parent.Master != 0 && err == nil {
		return fmt.Sprintf("%s is a port of the %s %s, which could be the parent itself", parent.Name, master.Type, master.Name)
	}
	return parent.Name + " has interfaces of another type on it: either macvlan or ipvlan"
}
