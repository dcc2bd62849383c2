package uplink

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/route"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

const instance = "i1"

// TestInUse: what the host needs an interface for.
func TestInUse(t *testing.T) {
	eth := link.Info{Index: 3, Name: "eth1"}
	ours := link.Info{Index: 3, Name: "dm-1", Type: "dummy", Alias: link.Mark(instance, "network/n")}
	vlan := link.Info{Index: 3, Name: "eth1.5", Type: "vlan", Alias: link.Mark(instance, "parent/eth1.5")}
	address := func(index int, p string) []addr.Info {
		return []addr.Info{{Index: index, Prefix: netip.MustParsePrefix(p)}}
	}
	to := func(index int, p string) []route.Info {
		return []route.Info{{Index: index, Destination: netip.MustParsePrefix(p), Type: unix.RTN_UNICAST}}
	}
	for _, c := range []struct {
		name   string
		have   link.Info
		addrs  []addr.Info
		routes []route.Info
		want   string
	}{
		{"nothing", eth, nil, nil, ""},
		{"what is for the link alone", eth, address(3, "fe80::1/64"), append(to(3, "fe80::/64"), to(3, "ff00::/8")...), ""},
		{"another's address and route", eth, address(2, "192.0.2.1/24"), to(2, "0.0.0.0/0"), ""},
		{"an address", eth, address(3, "192.0.2.1/24"), nil, "192.0.2.1/24"},
		{"an address of IPv6", eth, address(3, "2001:db8::1/64"), nil, "2001:db8::1/64"},
		{"a default route without an address", eth, nil, to(3, "0.0.0.0/0"), "0.0.0.0/0"},
		{"a route", eth, nil, to(3, "2001:db8::/32"), "2001:db8::/32"},
		{"the loopback interface", link.Info{Index: 1, Name: "lo"}, nil, nil, "loopback"},
		{"a port", link.Info{Index: 3, Name: "eth1", Master: 9}, nil, nil, "another bridge"},
		{"a bridge", link.Info{Index: 3, Name: "br0", Type: "bridge"}, nil, nil, "leads out"},
		{"a container's port", link.Info{Index: 3, Name: "veth1", Group: desired.PortGroup}, nil, nil, "leads out"},
		{"one of ours", ours, nil, nil, "leads out"},
		{"a VLAN of ours", vlan, nil, nil, ""},
		{"one of another instance", link.Info{Index: 3, Name: "eth1", Alias: link.Mark("i2", "x")}, nil, nil, ""},
	} {
		got := inUse(instance, c.have, c.addrs, c.routes)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestMarkKeepsWhatWas(t *testing.T) {
	for _, have := range []link.Info{{Name: "eth1"}, {Name: "eth1", Up: true, Alias: "to the office: u"}, {Name: "eth1", Alias: prefix("i2") + "ux"}} {
		mark, err := markOf(instance, have)
		before, taken := Taken(instance, mark)
		if err != nil || !taken || before != (Before{have.Up, have.Alias}) {
			t.Errorf("%+v: %q, %+v %t, %v", have, mark, before, taken, err)
		}
		again, err := markOf(instance, link.Info{Name: "eth1", Up: !have.Up, Alias: mark})
		if err != nil || again != mark {
			t.Errorf("taken twice, %q becomes %q, %v", mark, again, err)
		}
	}
	if _, err := markOf(instance, link.Info{Name: "eth1", Alias: strings.Repeat("x", 240)}); err == nil {
		t.Error("an alias was cut")
	}
}

func FuzzTaken(f *testing.F) {
	for _, alias := range []string{"", "linkspan-uplink:i1:", "linkspan-uplink:i1:u", "linkspan-uplink:i1:dx", "linkspan-uplink:i2:u"} {
		f.Add(alias)
	}
	f.Fuzz(func(t *testing.T, alias string) {
		before, taken := Taken(instance, alias)
		if !taken {
			return
		}
		if mark, err := markOf(instance, link.Info{Up: before.Up, Alias: before.Alias}); err == nil && mark != alias && !strings.HasPrefix(before.Alias, prefix(instance)) {
			t.Errorf("%q is read as %+v, which is written %q", alias, before, mark)
		}
	})
}

// TestPut takes an interface and gives it back as it was, by whatever happens in between.
func TestPut(t *testing.T) {
	kerneltest.New(t).Do(t, func() {
		c, err := rtnl.Open(new(atomic.Int64))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		bridge := link.Want{Row: desired.Link{Name: "br0", Type: desired.LinkBridge, MAC: "02:42:00:00:00:01"}, Instance: instance, Owner: "network/n", Conn: c}
		if _, err := bridge.Put(); err != nil {
			t.Fatal(err)
		}
		eth, err := netlink.LinkByName(kerneltest.Uplink)
		if err != nil {
			t.Fatal(err)
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(netlink.LinkSetAlias(eth, "to the office"))
		row := desired.Uplink{Link: kerneltest.Uplink, Bridge: "br0"}
		is := func(drift string, up bool, alias string) {
			t.Helper()
			why, err := Drift(c, row)
			have, _ := link.Get(c, row.Link)
			if err != nil || why != drift || have.Up != up || have.Alias != alias {
				t.Errorf("drift %q, %v; up %t, alias %q; want %q %t %q", why, err, have.Up, have.Alias, drift, up, alias)
			}
		}
		apart, mark := "is not a port of br0", prefix(instance)+"dto the office"
		is(apart, false, "to the office")

		a := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 7), Mask: net.CIDRMask(24, 32)}}
		must(netlink.AddrAdd(eth, a))
		if err := Put(c, instance, row); model.KindOf(err) != model.Conflict || !strings.Contains(err.Error(), "192.0.2.7/24") {
			t.Errorf("with an address: %v", err)
		}
		is(apart, false, "to the office")
		must(netlink.AddrDel(eth, a))

		must(Put(c, instance, row))
		is("", true, mark)
		must(Put(c, instance, row))
		is("", true, mark)
		must(netlink.LinkSetNoMaster(eth))
		is(apart, true, mark)
		must(Put(c, instance, row))
		is("", true, mark)
		if strays, err := Strays(c, instance, nil); err != nil || len(strays) != 1 || strays[0].Link != row.Link {
			t.Errorf("strays %v, %v", strays, err)
		}
		must(GiveBack(c, "i2", row.Link)) // it is not that one's
		is("", true, mark)
		must(GiveBack(c, instance, row.Link))
		is(apart, false, "to the office")
		must(GiveBack(c, instance, row.Link))

		must(netlink.LinkDel(eth))
		is(Missing, false, "")
		if err := Put(c, instance, row); !errors.Is(err, ErrGone) {
			t.Errorf("without an interface: %v", err)
		}
		must(GiveBack(c, instance, row.Link))
	})
}
