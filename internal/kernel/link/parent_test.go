package link

import (
	"errors"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
)

// hangings are all ways in which a link can hang on another, with the bytes that the
// kernel is given (linux/if_link.h; little endian).
var hangings = []struct {
	kind   desired.LinkType
	parent desired.Parent
	bytes  string
}{
	{desired.LinkMacvlan, desired.Parent{Mode: "private"}, "\x08\x00\x01\x00\x01\x00\x00\x00"},
	{desired.LinkMacvlan, desired.Parent{Mode: "vepa"}, "\x08\x00\x01\x00\x02\x00\x00\x00"},
	{desired.LinkMacvlan, desired.Parent{Mode: "bridge"}, "\x08\x00\x01\x00\x04\x00\x00\x00"},
	{desired.LinkMacvlan, desired.Parent{Mode: "passthru"}, "\x08\x00\x01\x00\x08\x00\x00\x00"},
	{desired.LinkIPvlan, desired.Parent{Mode: "l2", Flag: "bridge"}, "\x06\x00\x01\x00\x00\x00\x00\x00\x06\x00\x02\x00\x00\x00\x00\x00"},
	{desired.LinkIPvlan, desired.Parent{Mode: "l3", Flag: "private"}, "\x06\x00\x01\x00\x01\x00\x00\x00\x06\x00\x02\x00\x01\x00\x00\x00"},
	{desired.LinkIPvlan, desired.Parent{Mode: "l3s", Flag: "vepa"}, "\x06\x00\x01\x00\x02\x00\x00\x00\x06\x00\x02\x00\x02\x00\x00\x00"},
	{desired.LinkVLAN, desired.Parent{VLAN: 4094}, "\x06\x00\x01\x00\xfe\x0f\x00\x00"},
}

func TestHangings(t *testing.T) {
	for _, c := range hangings {
		ae := netlink.NewAttributeEncoder()
		if err := hang(ae, desired.Link{Type: c.kind, Parent: &c.parent}); err != nil {
			t.Error(c.kind, c.parent, err)
		}
		b, err := ae.Encode()
		if err != nil || string(b) != c.bytes {
			t.Errorf("%s%s: %x, %v", c.kind, c.parent, b, err)
		}
		ad, err := netlink.NewAttributeDecoder(b)
		if err != nil {
			t.Fatal(err)
		}
		if i := (Info{Type: string(c.kind)}); i.hung(ad) != nil || i.Parent != c.parent {
			t.Errorf("%s%s is read as%s", c.kind, c.parent, i.Parent)
		}
	}
	for _, bad := range []desired.Link{
		{Type: desired.LinkMacvlan, Parent: &desired.Parent{Mode: "odd"}}, {Type: desired.LinkIPvlan, Parent: &desired.Parent{Mode: "l2", Flag: "odd"}},
		{Type: desired.LinkVeth, Parent: &desired.Parent{}},
	} {
		if err := hang(netlink.NewAttributeEncoder(), bad); err == nil {
			t.Errorf("%s was written", bad)
		}
	}
}

// TestAmong: a link is found by its name, or by its mark if a container has renamed it,
// and never taken for that of somebody else.
func TestAmong(t *testing.T) {
	row := desired.Link{Namespace: "c1", Name: "eth0", Type: desired.LinkMacvlan, MAC: "02:42:00:00:00:09", Parent: &desired.Parent{Name: "lan"}}
	w := Want{Row: row, Instance: "i1", Owner: "endpoint/a"}
	lo := Info{Index: 1, Name: "lo", Alias: Mark("i1", "sandbox/c1")}
	own := Info{Index: 2, Name: "eth0", Type: "macvlan", Alias: Mark("i1", "endpoint/a"), MAC: row.MAC}
	renamed := own
	renamed.Name = "wan0"
	marked := Info{Index: 3, Name: "fake", Type: "dummy", Alias: own.Alias}
	taken := Info{Index: 4, Name: "eth0", Type: "bridge"}
	for _, c := range []struct {
		name string
		all  []Info
		want int // its index
	}{
		{"by its name", []Info{lo, own}, 2},
		{"by its mark", []Info{lo, renamed}, 2},
		{"by its mark, though something else has its name", []Info{taken, renamed}, 2},
		{"what has its name, to be refused", []Info{lo, taken}, 4},
		{"not what only bears the mark", []Info{lo, marked}, 0},
		{"nothing", []Info{lo}, 0},
	} {
		have, there := w.Among(c.all)
		if have.Index != c.want || there != (c.want != 0) {
			t.Errorf("%s: %+v, %t", c.name, have, there)
		}
	}
}

// TestUnfinished: the name fits, and is that of one instance and namespace.
func TestUnfinished(t *testing.T) {
	names := map[string]bool{}
	for _, of := range [][2]string{{"i1", ""}, {"i1", "c1"}, {"i1", "c2"}, {"i2", "c1"}} {
		name := Unfinished(of[0], of[1])
		if len(name) >= unix.IFNAMSIZ || names[name] {
			t.Errorf("%v: %s", of, name)
		}
		names[name] = true
	}
}

// TestRefused: what the kernel says has a reason and a way out.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		kind desired.LinkType
		err  error
		want string
	}{
		{desired.LinkIPvlan, unix.EOPNOTSUPP, "failed to create the ipvlan port: operation not supported\nthis kernel has no links of the type ipvlan\nload its module, if there is one: modprobe ipvlan"},
		{desired.LinkVLAN, unix.EOPNOTSUPP, "failed to create eth0.5 vlan link: operation not supported\nthis kernel has no links of the type vlan\nload its module, if there is one: modprobe 8021q"},
		{desired.LinkMacvlan, unix.EINVAL, "failed to create the macvlan port: invalid argument\nlan is not an Ethernet interface, or an interface in mode passthru has it to itself"},
	} {
		row := desired.Link{Name: "eth0.5", Type: c.kind, Parent: &desired.Parent{Name: "lan"}}
		err := Want{Row: row}.refused(Info{Name: "lan"}, c.err)
		if !errors.Is(err, c.err) || strings.TrimSpace(err.Error()) != c.want {
			t.Errorf("%q", err)
		}
	}
}
