package link

import (
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

func TestMarks(t *testing.T) {
	mine := Info{Alias: Mark("i1", "network/n")}
	if owner, ours := Owner("i1", mine); owner != "network/n" || !ours {
		t.Errorf("own mark: %q, %t", owner, ours)
	}
	for _, i := range []Info{{}, {Alias: "linkspan:i12:network/n"}, {Alias: "linkspan:"}} {
		if _, ours := Owner("i1", i); ours {
			t.Errorf("%q taken for ours", i.Alias)
		}
	}
}

func TestHalfMade(t *testing.T) {
	port := desired.Link{Type: desired.LinkVeth, Group: desired.PortGroup}
	bridge := desired.Link{Type: desired.LinkBridge, MAC: "02:42:AA:00:00:01"}
	for _, c := range []struct {
		name string
		have Info
		row  desired.Link
		want bool
	}{
		{"a port in our group", Info{Type: "veth", Group: desired.PortGroup}, port, true},
		{"a port in no group", Info{Type: "veth"}, port, false},
		{"a bridge with our MAC address", Info{Type: "bridge", MAC: "02:42:aa:00:00:01"}, bridge, true},
		{"a bridge with another", Info{Type: "bridge", MAC: "02:42:aa:00:00:02"}, bridge, false},
		{"somebody's alias", Info{Type: "bridge", MAC: "02:42:aa:00:00:01", Alias: "mine"}, bridge, false},
		{"another type", Info{Type: "veth", MAC: "02:42:aa:00:00:01"}, bridge, false},
		{"a bridge whose MAC address nobody wants", Info{Type: "bridge"}, desired.Link{Type: desired.LinkBridge}, false},
	} {
		if got := halfMade(c.have, c.row); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

// TestRetire: a retired port is down, on no bridge, and not taken for a
// leftover.
func TestRetire(t *testing.T) {
	kerneltest.New(t).Do(t, func() {
		c, err := rtnl.Open(new(atomic.Int64))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		row := desired.Link{Name: "br0", Type: desired.LinkBridge, MAC: "02:42:00:00:00:01"}
		if _, err := (Want{Row: row, Instance: "i1", Owner: "network/n", Conn: c}).Put(); err != nil {
			t.Error(err)
			return
		}
		if err := SetUp(c, "br0"); err != nil {
			t.Error(err)
		}
		if err := Retire(c, "i1", row); err != nil {
			t.Error(err)
		}
		if i, err := Get(c, "br0"); err != nil || i.Up || !Dying("i1", i) || Dying("i2", i) {
			t.Errorf("retired: %+v, %v", i, err)
		}
		if err := Delete(c, "i1", row); err != nil {
			t.Error(err)
		}
		if err := Delete(c, "i1", row); err != nil {
			t.Errorf("deleting what is gone: %v", err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(make([]byte, headerLen))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = parse(b)
		_, _ = parseNSID(b)
	})
}
