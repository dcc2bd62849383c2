package shape

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

const owner desired.Owner = "endpoint/1"

// wanting is a plan with a pair of interfaces of the host, of which one is shaped.
func wanting(t *testing.T, traffic desired.Traffic) desired.State {
	t.Helper()
	rows := []desired.Row{desired.Link{Name: "left", Type: desired.LinkVeth, Peer: &desired.Peer{Name: "right"}}}
	if traffic != (desired.Traffic{}) {
		rows = append(rows, desired.Shape{Link: "left", Traffic: traffic, Burst: 4000})
	}
	s, err := desired.State{}.Replace(owner, rows)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pair makes a pair of interfaces in the host's namespace.
func pair(t *testing.T, host kerneltest.Host) *rtnl.Conn {
	t.Helper()
	var writes atomic.Int64
	var c *rtnl.Conn
	host.Do(t, func() {
		var err error
		if c, err = rtnl.Open(&writes); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(c.Close)
	err := c.Change(rtnl.Request{Type: unix.RTM_NEWLINK, Flags: netlink.Create | netlink.Excl, Header: make([]byte, unix.SizeofIfInfomsg), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, "left")
		ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_KIND, "veth")
			info.Nested(unix.IFLA_INFO_DATA, func(data *netlink.AttributeEncoder) error {
				peer := netlink.NewAttributeEncoder()
				peer.String(unix.IFLA_IFNAME, "right")
				attrs, err := peer.Encode()
				data.Bytes(1, append(make([]byte, unix.SizeofIfInfomsg), attrs...)) // VETH_INFO_PEER
				return err
			})
			return nil
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func index(t *testing.T, c *rtnl.Conn, link string) int {
	t.Helper()
	i, err := indexOf(c, link)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// expect compares what is at an interface with what a row means.
func expect(t *testing.T, c *rtnl.Conn, traffic desired.Traffic) {
	t.Helper()
	have, err := read(c, index(t, c, "left"))
	if err != nil {
		t.Fatal(err)
	}
	want := wanted(desired.Shape{Traffic: traffic, Burst: 4000})
	if len(have) != len(want) {
		t.Fatalf("there is %+v, want %+v", have, want)
	}
	for i := range have {
		if !have[i].same(want[i]) {
			t.Errorf("there is %+v, want %+v", have[i], want[i])
		}
	}
}

// TestShaper makes rows so, changes them, finds and repairs what others have changed, and
// takes them away: by Apply and by Resync alike.
func TestShaper(t *testing.T) {
	host := kerneltest.New(t)
	c, s := pair(t, host), New(host.Namespaces(t))
	before := wanting(t, desired.Traffic{})
	for _, traffic := range []desired.Traffic{
		{Rate: 10_000_000}, {Rate: 20_000_000}, {Rate: 900_000_000_000}, {},
		{Delay: 50 * time.Millisecond}, {Delay: time.Minute, Loss: 500_000}, {Rate: 10_000_000, Delay: time.Millisecond, Loss: 1}, {Rate: 30_000_000}, {Loss: 1_000_000, Rate: 8000}, {},
	} {
		now := wanting(t, traffic)
		err := s.Apply(t.Context(), desired.Diff(before, now, []desired.Owner{owner}))
		if model.KindOf(cause(err)) == model.NotImplemented {
			if traffic.Delay == 0 && traffic.Loss == 0 || !strings.Contains(err.Error(), "modprobe sch_netem") {
				t.Fatalf("%+v: %v", traffic, err)
			}
			t.Logf("%+v: this kernel has no netem, and says so: %v", traffic, err)
			now = wanting(t, desired.Traffic{}) // what was there is gone, as the engine would see to
			if _, err := s.Resync(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			before = now
			continue
		}
		if err != nil {
			t.Fatalf("%+v: %v", traffic, err)
		}
		expect(t, c, traffic)
		if r, err := s.Resync(t.Context(), now); err != nil || len(r.Drift) != 0 || r.Writes != 0 {
			t.Errorf("%+v: a second time: %+v, %v", traffic, r, err)
		}
		if traffic != (desired.Traffic{}) {
			if err := remove(c, index(t, c, "left")); err != nil {
				t.Fatal(err)
			}
			if r, err := s.Check(t.Context(), now); err != nil || len(r.Drift) != 1 || r.Writes != 0 {
				t.Errorf("%+v: taken away: %+v, %v", traffic, r, err)
			}
			if r, err := s.Repair(t.Context(), now, []desired.Owner{owner}); err != nil || len(r.Drift) != 1 || r.Writes == 0 {
				t.Errorf("%+v: repaired: %+v, %v", traffic, r, err)
			}
			expect(t, c, traffic)
		}
		before = now
	}
	rate := desired.Traffic{Rate: 10_000_000}
	if _, err := s.Resync(t.Context(), wanting(t, rate)); err != nil {
		t.Fatal(err)
	}
	expect(t, c, rate)
	if r, err := s.Resync(t.Context(), wanting(t, desired.Traffic{})); err != nil || len(r.Drift) != 1 {
		t.Errorf("a stray: %+v, %v", r, err)
	}
	expect(t, c, desired.Traffic{})
}

// cause is the error of a Failure.
func cause(err error) error {
	for _, f := range desired.Failures(err) {
		return f.Err
	}
	return err
}

// TestOthers: what somebody else has put at an interface stays, and is named.
func TestOthers(t *testing.T) {
	host := kerneltest.New(t)
	c, s := pair(t, host), New(host.Namespaces(t))
	theirs := qdisc{kind: kindTBF, handle: 0x10000, parent: atRoot, rate: 1_000_000, limit: 10000, burst: 4000}
	if err := write(c, index(t, c, "left"), theirs); err != nil {
		t.Fatal(err)
	}
	want := wanting(t, desired.Traffic{Rate: 10_000_000})
	err := s.Apply(t.Context(), desired.Diff(desired.State{}, want, []desired.Owner{owner}))
	if model.KindOf(cause(err)) != model.Conflict || !strings.Contains(cause(err).Error(), "tc qdisc del dev left root") {
		t.Errorf("%v", err)
	}
	if _, err := s.Resync(t.Context(), wanting(t, desired.Traffic{})); err != nil {
		t.Error(err)
	}
	if have, err := read(c, index(t, c, "left")); err != nil || len(have) != 1 || !have[0].same(theirs) {
		t.Errorf("%+v, %v", have, err)
	}
}

// TestGone: nobody is missed that is to go, and who is to stay is.
func TestGone(t *testing.T) {
	host := kerneltest.New(t)
	s := New(host.Namespaces(t))
	for _, row := range []desired.Shape{{Link: "nobody", Traffic: desired.Traffic{Rate: 8000}}, {Namespace: "gone", Link: "eth0", Traffic: desired.Traffic{Rate: 8000}}} {
		if err := s.Apply(t.Context(), []desired.Delta{{Owner: owner, Old: row}}); err != nil {
			t.Errorf("%s: %v", row, err)
		}
		err := s.Apply(t.Context(), []desired.Delta{{Owner: owner, New: row}})
		if f := desired.Failures(err); len(f) != 1 || f[0].Owner != owner {
			t.Errorf("%s: %v", row, err)
		}
		want, _ := desired.State{}.Replace(owner, []desired.Row{row})
		if r, err := s.Resync(t.Context(), want); err != nil || len(r.Drift) != 0 {
			t.Errorf("%s: %+v, %v", row, r, err)
		}
	}
	if err := s.Apply(t.Context(), []desired.Delta{{Owner: owner, New: desired.Name{}}}); err != nil {
		t.Errorf("a row of somebody else's: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(make([]byte, headerLen))
	f.Add(append(make([]byte, headerLen), 8, 0, 1, 0, 't', 'b', 'f', 0, 4, 0, 2, 0))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if _, q, err := parse(msg); err == nil && len(msg) < headerLen {
			t.Errorf("a message without its header was read: %+v", q)
		}
	})
}
