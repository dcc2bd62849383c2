package kernel_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/model"
)

// macvlanOn returns the rows of a container whose eth0 hangs on a parent.
func macvlanOn(space string, parent desired.Parent, mac string) []desired.Row {
	return []desired.Row{
		desired.Namespace{Name: space},
		desired.Link{Namespace: space, Name: "eth0", Type: desired.LinkMacvlan, MAC: mac, Parent: &parent},
		desired.Addr{Namespace: space, Link: "eth0", Prefix: netip.MustParsePrefix("10.7.0.1/24")},
	}
}

// TestNeverOnTheHost: a link that hangs on an interface of the host is made where it
// belongs, under a name that the host has, too; the host sees none come or go.
func TestNeverOnTheHost(t *testing.T) {
	l := newLab(t)
	l.sh(t, "", "ip link add eth0 type veth peer name far && ip link set eth0 up && ip link set far up")
	before := l.sh(t, "", "ip -o link show | wc -l")
	l.sh(t, "", "(timeout 20 ip monitor link > '"+l.host.Dir+".events' 2>&1 & echo $! > '"+l.host.Dir+".pid')")
	eventually(t, "events are written down", func() bool {
		l.sh(t, "", "ip link set far mtu 1400; ip link set far mtu 1500")
		return strings.Contains(l.sh(t, "", "cat '"+l.host.Dir+".events'"), "far")
	})
	want := kerneltest.With(t, desired.State{}, "endpoint/a", macvlanOn("c1", desired.Parent{Name: "eth0", Mode: "bridge"}, "02:42:00:00:00:09")...)
	l.apply(t, desired.State{}, want)
	index := l.sh(t, "", "ip -o link show eth0 | cut -d: -f1")
	if got := l.sh(t, "c1", "ip -d link show eth0"); !strings.Contains(got, "eth0@if"+index) || !strings.Contains(got, "macvlan mode bridge") ||
		!strings.Contains(got, "02:42:00:00:00:09") || !strings.Contains(got, "alias linkspan:"+instance+":endpoint/a") || !strings.Contains(got, "LOWER_UP") {
		t.Errorf("eth0 on %s is %s", index, got)
	}
	if after := l.sh(t, "", "ip -o link show | wc -l"); after != before {
		t.Errorf("the host had %s interfaces, and has %s", before, after)
	}
	l.apply(t, want, desired.State{})
	l.sh(t, "", "ip link set far mtu 1450")
	eventually(t, "the last event", func() bool { return strings.Contains(l.sh(t, "", "cat '"+l.host.Dir+".events'"), "mtu 1450") })
	l.sh(t, "", "kill $(cat '"+l.host.Dir+".pid'); rm '"+l.host.Dir+".pid'")
	if events := l.sh(t, "", "cat '"+l.host.Dir+".events'; rm '"+l.host.Dir+".events'"); strings.Contains(events, "macvlan") || strings.Contains(events, "lnk-") {
		t.Errorf("the host saw\n%s", events)
	}
}

// TestParentGoneAndBack: what hung on a parent that went is made again when it is back;
// one that got another name keeps what hangs on it.
func TestParentGoneAndBack(t *testing.T) {
	l := newLab(t)
	const make = "ip link add lan7 type veth peer name far && ip link set lan7 up && ip link set far up"
	l.sh(t, "", make)
	want := kerneltest.With(t, desired.State{}, "endpoint/a", macvlanOn("c1", desired.Parent{Name: "lan7", Mode: "bridge"}, "02:42:00:00:00:09")...)
	l.apply(t, desired.State{}, want)
	l.sh(t, "", "ip link set lan7 down; ip link set lan7 name wan7; ip link set wan7 up")
	if r, err := l.Resync(t.Context(), want); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
		t.Errorf("renamed: %+v, %v", r, err)
	}
	l.sh(t, "", "ip link del wan7")
	_, err := l.Resync(t.Context(), want)
	if err == nil || !strings.Contains(err.Error(), "the requested parent interface lan7 was not found on the Docker host") || model.KindOf(cause(err)) != model.Unfit {
		t.Errorf("gone: %v", err)
	}
	l.sh(t, "", make)
	if r, err := l.Resync(t.Context(), want); err != nil || r.Writes == 0 {
		t.Errorf("back: %+v, %v", r, err)
	}
	if r, err := l.Resync(t.Context(), want); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
		t.Errorf("and mended: %+v, %v", r, err)
	}
	l.sh(t, "c1", "ip -4 addr show dev eth0 | grep 10.7.0.1/24")
}

// cause is the kernel's error of the first failure.
func cause(err error) error {
	for _, f := range desired.Failures(err) {
		return f.Err
	}
	return err
}

// TestAddressPassesOn: whoever comes gets the MAC address of one that leaves, in the
// same pass and in the next, also where a parent has one interface at a time.
func TestAddressPassesOn(t *testing.T) {
	for _, mode := range []string{"bridge", "private", "vepa", "passthru"} {
		t.Run(mode, func(t *testing.T) {
			l := newLab(t)
			l.sh(t, "", "ip link add lan7 type veth peer name far && ip link set lan7 up && ip link set far up")
			mac := "02:42:00:00:00:09"
			if mode == "passthru" {
				mac = ""
			}
			own := l.sh(t, "", "ip -o link show lan7")
			at := desired.State{}
			for i := range 6 {
				space := fmt.Sprintf("c%d", i)
				next := kerneltest.With(t, desired.State{}, desired.Owner("endpoint/"+space), macvlanOn(space, desired.Parent{Name: "lan7", Mode: mode}, mac)...)
				if i%2 == 1 {
					l.apply(t, at, desired.State{})
					at = desired.State{}
				}
				l.apply(t, at, next)
				at = next
			}
			if r, err := l.Resync(t.Context(), at); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
				t.Errorf("resync: %+v, %v", r, err)
			}
			// The containers are gone at once, and another engine's pass finds their namespaces.
			other := kerneltest.With(t, desired.State{}, "endpoint/z", macvlanOn("z", desired.Parent{Name: "lan7", Mode: mode}, mac)...)
			_, err := l.Resync(t.Context(), other)
			if _, again := l.Resync(t.Context(), other); again != nil {
				t.Errorf("resync to another: %v, then %v", err, again)
			}
			l.apply(t, other, desired.State{})
			eventually(t, "the parent is as before", func() bool {
				return l.sh(t, "", "ip -o link show lan7") == own
			})
		})
	}
}

// TestParentsThatCannot: the kernel's refusals say what is in the way.
func TestParentsThatCannot(t *testing.T) {
	for _, c := range []struct {
		name, setup string
		parent      desired.Parent
		want        []string
	}{
		{"a port of a bridge", "ip link add br7 type bridge; ip link set lan7 master br7", desired.Parent{Name: "lan7", Mode: "bridge"},
			[]string{"failed to create the macvlan port: device or resource busy", "lan7 is a port of the bridge br7"}},
		{"loopback", "true", desired.Parent{Name: "lo", Mode: "bridge"}, []string{"failed to create the macvlan port: invalid argument", "lo is not an Ethernet interface"}},
		{"has one in passthru", "ip link add pt link lan7 type macvlan mode passthru", desired.Parent{Name: "lan7", Mode: "bridge"},
			[]string{"failed to create the macvlan port", "mode passthru has it to itself"}},
		{"is missing", "true", desired.Parent{Name: "lan8", Mode: "bridge"}, []string{"the requested parent interface lan8 was not found on the Docker host"}},
		{"has that MAC address on it", "ip link add other link lan7 address 02:42:00:00:00:09 type macvlan mode bridge; ip link set other up", desired.Parent{Name: "lan7", Mode: "bridge"},
			[]string{"bring up eth0: address already in use", "another interface on lan7 has the MAC address 02:42:00:00:00:09"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.sh(t, "", "ip link add lan7 type veth peer name far && ip link set lan7 up && ip link set far up; "+c.setup)
			want := kerneltest.With(t, desired.State{}, "endpoint/a", macvlanOn("c1", c.parent, "02:42:00:00:00:09")...)
			deltas := kerneltest.Diff(desired.State{}, want)
			err := l.Apply(t.Context(), deltas)
			for _, w := range c.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("without %q: %v", w, err)
				}
			}
			if model.KindOf(cause(err)) != model.Unfit {
				t.Errorf("of another kind: %v", err)
			}
			l.apply(t, want, desired.State{})
		})
	}
}

// TestNameTakenOnParent: an interface of the container's own has the name already.
func TestNameTakenOnParent(t *testing.T) {
	l := newLab(t)
	lan := kerneltest.With(t, desired.State{}, kerneltest.LANOwner, kerneltest.LAN()...)
	before := kerneltest.With(t, lan, kerneltest.SandboxOwner(0), kerneltest.Sandbox(0)...)
	l.apply(t, desired.State{}, before)
	l.sh(t, kerneltest.Space(0), "ip link add lan0 type bridge")
	after := kerneltest.With(t, before, kerneltest.MemberOwner(0), kerneltest.Member(0)...)
	err := l.Apply(t.Context(), kerneltest.Diff(before, after))
	if err == nil || !strings.Contains(err.Error(), "file exists: the container has an interface of its own with that name") {
		t.Errorf("apply: %v", err)
	}
	if links := l.sh(t, kerneltest.Space(0), "ip -br link"); strings.Contains(links, "lnk-") {
		t.Errorf("left over: %s", links)
	}
	if r, err := l.Resync(t.Context(), after); err != nil || r.Writes == 0 {
		t.Errorf("a repair puts it beside: %+v, %v", r, err)
	}
	if r, err := l.Resync(t.Context(), after); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
		t.Errorf("where it is found again: %+v, %v", r, err)
	}
	l.apply(t, after, before)
	if links := l.sh(t, kerneltest.Space(0), "ip -br link"); strings.Contains(links, "lan1") {
		t.Errorf("left over: %s", links)
	}
}
