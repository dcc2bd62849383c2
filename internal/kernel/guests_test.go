package kernel_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/model"
)

const guestSpace = model.GuestPrefix + "0123456789"

// guestLab is a host with a bridge and a namespace of somebody else's, "blue", which has
// an interface of its own.
func guestLab(t *testing.T) (l lab, path string, base desired.State) {
	t.Helper()
	host := kerneltest.New(t)
	people := population{}
	l = labWith(t, host, kernel.Options{Firewall: noFirewall{}, Census: people.take})
	if err := host.Namespaces(t).Create(t.Context(), "blue", func(f *os.File) error { return f.Close() }); err != nil {
		t.Fatal(err)
	}
	l.sh(t, "blue", "ip link add own0 type veth peer name own1 && ip addr add 192.0.2.9/24 dev own0 && ip link set own0 up")
	base = kerneltest.Bridged(t, 0)
	l.apply(t, desired.State{}, base)
	return l, filepath.Join(host.Dir, "blue"), base
}

// attachGuest is what is wanted once a namespace has joined the bridge.
func attachGuest(t *testing.T, l lab, path string, base desired.State) desired.State {
	t.Helper()
	g, _, err := l.Guests().Look(path)
	if err != nil {
		t.Fatal(err)
	}
	of := desired.Lent{Path: g.Path, Device: g.Device, Inode: g.Inode}
	next := kerneltest.With(t, base, "sandbox/blue", desired.Namespace{Name: guestSpace, Of: of},
		desired.Route{Namespace: guestSpace, Destination: netip.MustParsePrefix("0.0.0.0/0"), Link: "eth0", Gateway: netip.MustParseAddr("10.9.0.1")})
	return kerneltest.With(t, next, "endpoint/blue",
		desired.Link{Name: "vethblue", Type: desired.LinkVeth, Master: kerneltest.Bridge, Group: desired.PortGroup,
			Peer: &desired.Peer{Namespace: guestSpace, Name: "eth0", MAC: "02:42:00:00:09:09"}},
		desired.Addr{Namespace: guestSpace, Link: "eth0", Prefix: netip.MustParsePrefix("10.9.9.9/16")})
}

// TestGuestComesAndGoes: a namespace of somebody else's joins, survives the next daemon
// and the loss of our name for it, and is its maker's again afterwards.
func TestGuestComesAndGoes(t *testing.T) {
	l, path, base := guestLab(t)
	before := l.sh(t, "blue", "ip -o link show own0; ip addr show own0; ip route")
	want := attachGuest(t, l, path, base)
	l.apply(t, base, want)
	l.sh(t, "blue", "ping -c1 -w5 10.9.0.1 && ip route show default | grep 10.9.0.1")
	if r, err := l.Resync(t.Context(), want); err != nil || len(r.Drift) > 0 {
		t.Fatalf("it is not as wanted: %q, %v", r.Drift, err)
	}

	next := labWith(t, l.host, kernel.Options{Firewall: noFirewall{}, Census: population{}.take})
	if r, err := next.Resync(t.Context(), want); err != nil || len(r.Drift) > 0 {
		t.Fatalf("the next daemon does not find it: %q, %v", r.Drift, err)
	}
	l.sh(t, "", "umount '"+l.host.Dir+"/"+guestSpace+"'")
	if r, err := next.Resync(t.Context(), want); err != nil || len(r.Drift) == 0 {
		t.Errorf("our name for it is gone: %q, %v", r.Drift, err)
	}
	if l.identity(t, guestSpace) != l.identity(t, "blue") {
		t.Error("our name leads elsewhere")
	}

	next.apply(t, want, base)
	if err := next.Netns().AwaitReleases(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := l.sh(t, "blue", "ip -o link show own0; ip addr show own0; ip route"); got != before {
		t.Errorf("its maker finds\n%s\nand had\n%s", got, before)
	}
	if got := l.sh(t, "blue", "ip -o link show"); strings.Contains(got, "eth0") || strings.Contains(got, "alias") {
		t.Errorf("left in it: %s", got)
	}
	if names, err := next.Netns().List(); err != nil || slices.Contains(names, guestSpace) {
		t.Errorf("names %q, %v", names, err)
	}
	if r, err := next.Resync(t.Context(), base); err != nil || len(r.Drift) > 0 {
		t.Errorf("left over: %q, %v", r.Drift, err)
	}
}

// TestGuestLeftByACrash: the daemon ended between its promise and the kernel. The next
// one gives the namespace back, under its own name alone.
func TestGuestLeftByACrash(t *testing.T) {
	l, path, base := guestLab(t)
	l.apply(t, base, attachGuest(t, l, path, base))
	if _, err := l.Resync(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	if err := l.Netns().AwaitReleases(t.Context()); err != nil {
		t.Fatal(err)
	}
	names, err := l.Netns().List()
	if err != nil || !slices.Equal(names, []string{"blue"}) {
		t.Errorf("names %q, %v", names, err)
	}
	if got := l.sh(t, "blue", "ip -o link show"); strings.Contains(got, "eth0") || strings.Contains(got, "alias") {
		t.Errorf("left in it: %s", got)
	}
}

// TestGuestKeepsItsWayOut: what leads out of a namespace already is not taken away.
func TestGuestKeepsItsWayOut(t *testing.T) {
	l, path, base := guestLab(t)
	l.sh(t, "blue", "ip route add default via 192.0.2.1")
	if g, _, err := l.Guests().Look(path); err != nil || !g.Out4 || g.Out6 {
		t.Errorf("ways out %t %t, %v", g.Out4, g.Out6, err)
	}
	want := attachGuest(t, l, path, base)
	l.apply(t, base, want)
	l.sh(t, "blue", "ip route show default | grep 192.0.2.1")
	if r, err := l.Resync(t.Context(), want); err != nil || len(r.Drift) > 0 {
		t.Errorf("it is not as wanted: %q, %v", r.Drift, err)
	}
}

// TestAnotherIsNotTaken: a name that was given away meanwhile, to another namespace, is
// no reason to change that.
func TestAnotherIsNotTaken(t *testing.T) {
	l, path, base := guestLab(t)
	want := attachGuest(t, l, path, base)
	l.sh(t, "", "umount '"+path+"'")
	if err := l.host.Namespaces(t).Create(t.Context(), "blue", func(f *os.File) error { return f.Close() }); err != nil {
		t.Fatal(err)
	}
	if l.identity(t, "blue") == "" {
		t.Fatal("there is no other namespace")
	}
	_, err := l.Resync(t.Context(), want)
	if failures := desired.Failures(err); len(failures) == 0 {
		t.Errorf("the other was taken: %v", err)
	}
	if got := l.sh(t, "blue", "ip -o link show"); strings.Contains(got, "alias") || strings.Contains(got, "eth0") {
		t.Errorf("in the other: %s", got)
	}
}

func TestLookRefuses(t *testing.T) {
	l, path, _ := guestLab(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, kind := range map[string]model.Kind{
		path + "-none": model.NotFound, file: model.Invalid, file + "/x": model.NotFound, "/proc/self/ns/mnt": model.Invalid,
		"/dev/null": model.Invalid, l.host.Netns: model.Invalid, "/proc/999999999/ns/net": model.NotFound,
	} {
		if _, _, err := l.Guests().Look(path); err == nil || model.KindOf(err) != kind {
			t.Errorf("%s: %v, want kind %d", path, err, kind)
		}
	}
}

// TestDeserted: a namespace is one as long as anybody can get into it.
func TestDeserted(t *testing.T) {
	l, path, base := guestLab(t)
	want := attachGuest(t, l, path, base)
	l.apply(t, base, want)
	g, owner, err := l.Guests().Look(path)
	if err != nil || owner != "sandbox/blue" {
		t.Fatalf("it is held for %q, %v", owner, err)
	}
	all := map[string]model.Guest{guestSpace: g}
	deserted := func(want bool, why string) {
		t.Helper()
		if got := l.Guests().Deserted(all); (len(got) == 1) != want {
			t.Errorf("%s: deserted %q", why, got)
		}
	}
	deserted(false, "its path leads there")
	people := population{}
	living := people.live(t, l, "blue")
	l.sh(t, "", "umount '"+path+"'")
	deserted(false, "a process is in it")
	end(living)
	deserted(true, "nobody is in it")
	if _, err := netns.Find(desired.Lent{Path: path, Device: g.Device, Inode: g.Inode}); err == nil {
		t.Error("it is found at its path")
	}
}
