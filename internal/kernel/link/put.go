package link

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

// vethPeer is VETH_INFO_PEER of linux/veth.h: a nested ifinfomsg with
// attributes, for the other end.
const vethPeer = 1

// Want is a link that is wanted, and where.
type Want struct {
	Row      desired.Link
	Instance string
	Owner    desired.Owner
	Conn     *rtnl.Conn
	// For a veth, the namespace of the other end: an open conversation with it,
	// and its file.
	Peer     *rtnl.Conn
	PeerFile *os.File
	// For a link whose packets leave elsewhere or that hangs on another, an open conversation with
	// the namespace where that is, and the file of the link's own, if that is another.
	Parent *rtnl.Conn
	File   *os.File
	Home   *os.File // the file of the host's namespace, or of the Home of its row
	Netns  *netns.Dir
}

// State is what there is of a wanted link: both ends of a veth pair, Host alone
// for everything else.
type State struct {
	Host, Peer Info
}

// Look reads what there is. The error is unix.ENODEV if the link is missing; the
// Peer of a veth whose other end is not where it should be is zero.
func (w Want) Look() (State, error) {
	if w.Row.Parent != nil {
		return w.lookOnParent()
	}
	host, err := Get(w.Conn, w.Row.Name)
	if err != nil {
		return State{}, err
	}
	return w.WithPeer(host)
}

// WithPeer adds the other end to what is known of this one.
func (w Want) WithPeer(host Info) (State, error) {
	if w.Row.Peer == nil {
		return State{Host: host}, nil
	}
	peer, err := Get(w.Peer, w.Row.Peer.Name)
	if errors.Is(err, unix.ENODEV) || err == nil && !paired(host, peer) {
		// A container that may configure its own network may have renamed it.
		peer, err = ByIndex(w.Peer, host.PeerIndex)
	}
	if errors.Is(err, unix.ENODEV) || err == nil && !paired(host, peer) {
		return State{Host: host}, nil
	}
	return State{host, peer}, err
}

// paired tells whether two links are the ends of one veth pair, going by what each
// says of the other.
func paired(a, b Info) bool {
	veth := string(desired.LinkVeth)
	return a.Type == veth && b.Type == veth && a.PeerIndex == b.Index && b.PeerIndex == a.Index
}

// Put makes the link as wanted, apart from its master and from being up, and
// returns what there is then. What is there as wanted is not written. It changes
// a link in place where the kernel can, and makes it anew where not. A link of
// somebody else is a model.Conflict, unless the row adopts it.
func (w Want) Put() (State, error) {
	if w.Row.Parent != nil {
		return w.putOnParent()
	}
	err := w.create()
	if err == nil {
		return w.fresh(), w.settle(w.fresh())
	}
	if !errors.Is(err, unix.EEXIST) {
		return State{}, err
	}
	have, lookErr := w.Look()
	if errors.Is(lookErr, unix.ENODEV) { // then it is the other end that exists
		return State{}, &desired.NameTaken{Namespace: w.Row.Peer.Namespace, Link: w.Row.Name, Name: w.Row.Peer.Name}
	}
	if lookErr != nil {
		return State{}, lookErr
	}
	adopted, err := w.admit(have)
	if err != nil || adopted {
		return have, err
	}
	if w.mustRenew(have) != "" {
		return w.renew()
	}
	return have, w.settle(have)
}

// fresh is what create has made.
func (w Want) fresh() State {
	s := State{Host: Info{Name: w.Row.Name, Type: string(w.Row.Type), MAC: strings.ToLower(w.Row.MAC), Group: w.Row.Group}}
	if w.Row.Type == desired.LinkVeth {
		s.Host.MTU, s.Host.Packets = w.Row.MTU, wanted(w.Row.Packets)
	}
	if p := w.Row.Peer; p != nil {
		s.Peer = Info{Name: p.Name, MAC: strings.ToLower(p.MAC), MTU: w.Row.MTU, Packets: wanted(p.Packets)}
	}
	return s
}

// admit decides whether the link may be used: ours, or adopted as it is.
func (w Want) admit(have State) (adopted bool, err error) {
	if _, ours := Owner(w.Instance, have.Host); ours || halfMade(have.Host, w.Row) {
		return false, nil
	}
	if !isA(w.Row, have.Host.Type) && !(w.Row.Adopt && w.Row.Type == desired.LinkVLAN) {
		return false, model.Errorf(model.Conflict, "existing interface %s is not a %s", w.Row.Name, w.Row.Type)
	}
	if w.Row.Adopt {
		return true, nil
	}
	return false, &model.Error{
		Kind: model.Conflict,
		Err:  fmt.Errorf("interface %s already exists", w.Row.Name),
		Who:  "it was not made by this engine",
		Way:  "remove it (ip link delete " + w.Row.Name + ") or choose another interface name",
	}
}

// halfMade tells whether a link without alias is one of ours that a crash left
// between its creation and its marking.
func halfMade(have Info, row desired.Link) bool {
	if row.OnParent() { // it has its name, so it had its mark, and a container took that off
		own := row.MAC != "" && have.MAC == strings.ToLower(row.MAC) || row.MAC == "" && have.Alias == ""
		return own && isA(row, have.Type)
	}
	if have.Alias != "" || !isA(row, have.Type) {
		return false
	}
	if row.Type == desired.LinkWireGuard { // in a namespace of ours
		return row.Namespace != desired.HostNamespace
	}
	if row.Group == desired.PortGroup {
		return have.Group == desired.PortGroup
	}
	return row.MAC != "" && have.MAC == strings.ToLower(row.MAC)
}

// mustRenew says why the link cannot become what is wanted; empty if it can.
func (w Want) mustRenew(have State) string {
	if !isA(w.Row, have.Host.Type) {
		return "is a " + have.Host.Type
	}
	if w.Row.Parent != nil {
		return w.hangsWrong(have.Host)
	}
	if w.Row.VXLAN != nil {
		return w.carriesWrong(have.Host)
	}
	if w.Row.Peer != nil && have.Peer.Index == 0 {
		return "its other end is gone"
	}
	return ""
}

func (w Want) renew() (State, error) {
	if err := Delete(w.Conn, w.Instance, w.Row); err != nil {
		return State{}, err
	}
	err := w.create()
	if errors.Is(err, unix.EEXIST) { // what is left is the other end
		return State{}, &desired.NameTaken{Namespace: w.Row.Peer.Namespace, Link: w.Row.Name, Name: w.Row.Peer.Name}
	}
	if err != nil {
		return State{}, err
	}
	return w.fresh(), w.settle(w.fresh())
}

// HostDrift is Drift without a look at the other end of a veth pair.
func (w Want) HostDrift(have Info, master int) string {
	w.Row.Peer = nil
	return w.Drift(State{Host: have}, master)
}

// Drift says, in words, what is not as wanted; empty if nothing is. master is
// the index of the wanted bridge, 0 for none.
func (w Want) Drift(have State, master int) string {
	adopted, err := w.admit(have)
	if err != nil {
		return err.Error()
	}
	var out []string
	if !adopted {
		if why := w.mustRenew(have); why != "" {
			return why
		}
		out = texts(differences(have.Host, w.host()), "")
		if w.Row.Peer != nil {
			out = append(out, texts(differences(have.Peer, w.peer()), have.Peer.Name+" ")...)
			if !have.Peer.Up {
				out = append(out, have.Peer.Name+" is down")
			}
		}
		// A container may have bridges of its own, and a VLAN may be a bridge's uplink.
		if have.Host.Master != master && !w.Row.OnParent() && w.Row.Type != desired.LinkVLAN {
			out = append(out, "is not a port of "+orNone(w.Row.Master))
		} else if w.IsPort() {
			if !have.Host.Hairpin {
				out = append(out, "is not a hairpin port")
			}
			if have.Host.Passes != passReserved {
				out = append(out, fmt.Sprintf("group_fwd_mask %#x instead of %#x", have.Host.Passes, passReserved))
			}
		}
	}
	if !have.Host.Up {
		out = append(out, "is down")
	}
	return strings.Join(out, ", ")
}

// IsPort tells whether the link must be a port as SetPort makes it: every port of
// ours is.
func (w Want) IsPort() bool { return w.Row.Master != "" && w.Row.Group == desired.PortGroup }

func orNone(bridge string) string {
	if bridge == "" {
		return "no bridge"
	}
	return bridge
}

func texts(ds []difference, prefix string) []string {
	var out []string
	for _, d := range ds {
		out = append(out, prefix+d.text)
	}
	return out
}

// fields are what is set on one end.
type fields struct {
	mac     string
	mtu     int
	packets desired.PacketSizes
	group   uint32
	alias   string
	inherit bool // the sizes of packets are those of what it hangs on
}

func (w Want) host() fields {
	return fields{w.Row.MAC, w.Row.MTU, w.Row.Packets, w.Row.Group, Mark(w.Instance, w.Owner), w.Row.Parent != nil}
}

func (w Want) peer() fields {
	return fields{mac: w.Row.Peer.MAC, mtu: w.Row.MTU, packets: w.Row.Peer.Packets}
}

// difference is one field that is not as wanted, in words and as an attribute.
type difference struct {
	text string
	set  func(*netlink.AttributeEncoder)
}

// differences compares only what is wanted: a zero field is the kernel's.
func differences(have Info, want fields) []difference {
	var out []difference
	if want.mtu != 0 && have.MTU != want.mtu {
		out = append(out, difference{fmt.Sprintf("mtu %d instead of %d", have.MTU, want.mtu),
			func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.IFLA_MTU, uint32(want.mtu)) }})
	}
	if !want.inherit {
		out = append(out, have.Packets.differences(want.packets)...)
	}
	if want.mac != "" && have.MAC != strings.ToLower(want.mac) {
		out = append(out, difference{fmt.Sprintf("mac %s instead of %s", have.MAC, want.mac),
			func(ae *netlink.AttributeEncoder) { ae.Do(unix.IFLA_ADDRESS, macBytes(want.mac)) }})
	}
	if want.group != 0 && have.Group != want.group {
		out = append(out, difference{fmt.Sprintf("group %#x instead of %#x", have.Group, want.group),
			func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.IFLA_GROUP, want.group) }})
	}
	if want.alias != "" && have.Alias != want.alias {
		out = append(out, difference{fmt.Sprintf("alias %q instead of %q", have.Alias, want.alias),
			func(ae *netlink.AttributeEncoder) { ae.Bytes(unix.IFLA_IFALIAS, []byte(want.alias)) }})
	}
	return out
}

// settle corrects in place, with one message for each end that needs it.
func (w Want) settle(have State) error {
	if err := apply(w.Conn, cmp.Or(have.Host.Name, w.Row.Name), differences(have.Host, w.host())); err != nil {
		return err
	}
	if w.Row.Peer == nil {
		return nil
	}
	return apply(w.Peer, have.Peer.Name, differences(have.Peer, w.peer()))
}

func apply(c *rtnl.Conn, name string, ds []difference) error {
	if len(ds) == 0 {
		return nil
	}
	return set(c, name, change{attrs: func(ae *netlink.AttributeEncoder) {
		for _, d := range ds {
			d.set(ae)
		}
	}})
}

// noDummy is what a dummy is where the kernel has none.
const noDummy = "ifb"

// isA tells whether a link is of the type that a row wants.
func isA(row desired.Link, kind string) bool {
	return row.Type == desired.LinkMoved || kind == string(row.Type) || row.Type == desired.LinkDummy && kind == noDummy ||
		row.Type == desired.LinkWireGuard && kind == string(desired.LinkTUN)
}

// create makes the link, down. The error is unix.EEXIST if either name is taken.
func (w Want) create() error {
	if w.Row.VXLAN != nil {
		return w.createVXLAN()
	}
	if w.Row.Type == desired.LinkWireGuard {
		return w.createWireGuard()
	}
	err := w.createAs(w.Row.Type)
	if w.Row.Type == desired.LinkDummy && errors.Is(err, unix.EOPNOTSUPP) {
		return w.createAs(noDummy)
	}
	return err
}

func (w Want) createAs(kind desired.LinkType) error {
	row := w.Row
	return w.Conn.Change(rtnl.Request{
		Type: unix.RTM_NEWLINK, Flags: netlink.Create | netlink.Excl, Header: header(0, 0, 0),
		Attrs: func(ae *netlink.AttributeEncoder) {
			ae.String(unix.IFLA_IFNAME, row.Name)
			if row.MAC != "" {
				ae.Do(unix.IFLA_ADDRESS, macBytes(row.MAC))
			}
			if row.Group != 0 {
				ae.Uint32(unix.IFLA_GROUP, row.Group)
			}
			if row.Type == desired.LinkVeth {
				endAttrs(ae, row.MTU, row.Packets)
			}
			ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
				info.String(unix.IFLA_INFO_KIND, string(kind))
				if row.Peer != nil {
					info.Nested(unix.IFLA_INFO_DATA, w.peerData)
				}
				return nil
			})
		},
	})
}

func (w Want) peerData(data *netlink.AttributeEncoder) error {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.IFLA_IFNAME, w.Row.Peer.Name)
	ae.Uint32(unix.IFLA_NET_NS_FD, uint32(w.PeerFile.Fd()))
	endAttrs(ae, w.Row.MTU, w.Row.Peer.Packets)
	if w.Row.Peer.MAC != "" {
		ae.Do(unix.IFLA_ADDRESS, macBytes(w.Row.Peer.MAC))
	}
	attrs, err := ae.Encode()
	data.Bytes(netlink.Nested|vethPeer, append(header(0, 0, 0), attrs...))
	return err
}

// endAttrs are what each end of a veth gets. Without a transmit queue
// (noqueue) a packet goes straight into the other end.
func endAttrs(ae *netlink.AttributeEncoder, mtu int, packets desired.PacketSizes) {
	ae.Uint32(unix.IFLA_TXQLEN, 0)
	if mtu != 0 {
		ae.Uint32(unix.IFLA_MTU, uint32(mtu))
	}
	wanted(packets).write(ae)
}

func macBytes(mac string) func() ([]byte, error) {
	return func() ([]byte, error) { return net.ParseMAC(mac) }
}
