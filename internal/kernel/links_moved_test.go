package kernel_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/model"
)

// TestMoved: an interface that somebody has made for a container on the host is moved
// there, found again whatever the container calls it, and given back in the end, whether
// the container stays or goes.
func TestMoved(t *testing.T) {
	l := newLab(t)
	l.sh(t, "", "ip link add rc1 type veth peer name rh1 && ip link set rh1 up && ip link set rc1 up")
	rows := []desired.Row{
		desired.Namespace{Name: "c1"},
		desired.Link{Namespace: "c1", Name: "eth0", Type: desired.LinkMoved, MAC: "02:99:00:00:00:01", Parent: &desired.Parent{Name: "rc1"}},
		desired.Addr{Namespace: "c1", Link: "eth0", Prefix: netip.MustParsePrefix("10.7.0.2/24")},
		desired.Route{Namespace: "c1", Link: "eth0", Destination: netip.MustParsePrefix("169.254.1.1/32")},
		desired.Route{Namespace: "c1", Link: "eth0", Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("169.254.1.1")},
	}
	want := kerneltest.With(t, desired.State{}, "endpoint/a", rows...)
	l.apply(t, desired.State{}, want)
	if got := l.sh(t, "c1", "ip -o link show eth0; ip route"); !strings.Contains(got, "02:99:00:00:00:01") || !strings.Contains(got, "alias linkspan:"+instance+":endpoint/a") ||
		!strings.Contains(got, "LOWER_UP") || !strings.Contains(got, "default via 169.254.1.1") {
		t.Errorf("eth0 is %s", got)
	}
	if got := l.sh(t, "", "ip -o link"); strings.Contains(got, "rc1@") {
		t.Errorf("the host has it still:\n%s", got)
	}
	l.sh(t, "c1", "ip link set eth0 down && ip link set eth0 name mine && ip link set mine up")
	if r, err := l.Resync(t.Context(), want); err != nil {
		t.Errorf("renamed: %+v, %v", r, err)
	}
	if r, err := l.Resync(t.Context(), want); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
		t.Errorf("and looked at again: %+v, %v", r, err)
	}
	stays := kerneltest.With(t, desired.State{}, "endpoint/a", rows[0])
	l.apply(t, want, stays)
	l.sh(t, "", "ip link show rc1 | grep -v linkspan && ! ip -o link show rc1 | grep -q alias")
	l.apply(t, stays, want)
	l.apply(t, want, desired.State{})
	l.sh(t, "", "ip link show rc1 && ip link del rh1")
	_, err := l.Resync(t.Context(), want)
	if err == nil || !strings.Contains(err.Error(), `failed to get link by name "rc1": Link not found`) || model.KindOf(cause(err)) != model.Unfit {
		t.Errorf("missing: %v", err)
	}
}

// TestNotMoved: what is ours, or the host's own loopback, is nobody's to give away.
func TestNotMoved(t *testing.T) {
	l := newLab(t)
	bridge := kerneltest.With(t, desired.State{}, "network/n", desired.Link{Name: "br0", Type: desired.LinkBridge, MAC: "02:42:00:00:00:01"})
	l.apply(t, desired.State{}, bridge)
	for _, name := range []string{"br0", "lo"} {
		want := kerneltest.With(t, bridge, "endpoint/a", desired.Namespace{Name: "c1"},
			desired.Link{Namespace: "c1", Name: "eth0", Type: desired.LinkMoved, Parent: &desired.Parent{Name: name}})
		_, err := l.Resync(t.Context(), want)
		if err == nil || !strings.Contains(err.Error(), "cannot be moved into a container") {
			t.Errorf("%s: %v", name, err)
		}
		l.sh(t, "", "ip link show "+name)
	}
}
