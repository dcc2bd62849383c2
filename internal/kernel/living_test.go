package kernel_test

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/netns"
)

// population is the processes of a test's containers, by the name of the namespace.
type population map[string][]netns.Process

func (p population) take() netns.Census { return netns.Census(p) }

// live starts a process in a namespace, which ends with the test.
func (p population) live(t *testing.T, l lab, space string) *exec.Cmd {
	t.Helper()
	sleeper := exec.Command("sleep", "1000")
	if err := l.Netns().Do(t.Context(), space, sleeper.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(sleeper) })
	process, err := netns.Identify(sleeper.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p[space] = append(p[space], process)
	return sleeper
}

func end(c *exec.Cmd) {
	_ = c.Process.Kill()
	_ = c.Wait() // killed, as was meant
}

// identity says which namespace a name leads to.
func (l lab) identity(t *testing.T, space string) string {
	t.Helper()
	return l.sh(t, space, "readlink /proc/self/ns/net")
}

// TestNameIsGivenBack: somebody takes the name of a namespace away in which a
// container lives. Whatever is asked of the kernel next finds the namespace itself.
func TestNameIsGivenBack(t *testing.T) {
	space := kerneltest.Space(0)
	for name, spoil := range map[string]string{
		"unmounted":                  "umount 'NETNS/" + space + "'",
		"deleted":                    "umount 'NETNS/" + space + "' && rm 'NETNS/" + space + "'",
		"led away":                   "umount 'NETNS/" + space + "' && mount --bind /proc/self/ns/net 'NETNS/" + space + "'",
		"covered":                    "mount --bind /proc/self/ns/net 'NETNS/" + space + "'",
		"deleted, and its mark, too": "nsenter --net='NETNS/" + space + "' ip link set lo alias mine && umount 'NETNS/" + space + "' && rm 'NETNS/" + space + "'",
	} {
		for _, verb := range []string{"resync", "apply", "resync by the next daemon"} {
			t.Run(name+", "+verb, func(t *testing.T) {
				people := population{}
				host := kerneltest.New(t)
				l := labWith(t, host, kernel.Options{Firewall: noFirewall{}, Census: people.take})
				want := kerneltest.Attached(t, 2)
				l.apply(t, desired.State{}, want)
				people.live(t, l, space)
				home, address := l.identity(t, space), l.sh(t, space, "ip -br addr show eth0")
				l.sh(t, "", strings.ReplaceAll(spoil, "NETNS", host.Dir))
				switch verb {
				case "apply":
					// As `network disconnect` does: something inside changes.
					var route desired.Row
					for _, row := range kerneltest.Endpoint(0) {
						if r, ok := row.(desired.Route); ok && r.Table == 0 && r.Gateway.Is4() {
							route = r
						}
					}
					gone := []desired.Delta{{Owner: kerneltest.EndpointOwner(0), Old: route}}
					if err := l.Apply(t.Context(), gone); err != nil {
						t.Fatal(err)
					}
					if routes := l.sh(t, space, "ip route show default"); routes != "" {
						t.Errorf("the route is still there: %s", routes)
					}
				case "resync by the next daemon":
					l = labWith(t, host, kernel.Options{Firewall: noFirewall{}, Census: people.take})
					fallthrough
				default:
					told, err := l.Check(t.Context(), want)
					if err != nil || !strings.Contains(strings.Join(told.Drift, "\n"), "namespace "+space+": its name ") {
						t.Errorf("check: %q, %v", told.Drift, err)
					}
					if n := len(told.Drift); n > 2 {
						t.Errorf("check does not look into the namespace that lives: %q", told.Drift)
					}
				}
				if _, err := l.Resync(t.Context(), want); err != nil {
					t.Fatal(err)
				}
				if got := l.identity(t, space); got != home {
					t.Errorf("the name leads to %s instead of %s", got, home)
				}
				if got := l.sh(t, space, "ip -br addr show eth0"); got != address {
					t.Errorf("eth0 was %q, and is %q", address, got)
				}
				if r, err := l.Resync(t.Context(), want); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
					t.Errorf("second resync: %+v, %v", r, err)
				}
				l.sh(t, space, "ping -c1 -w5 10.9.1.2")
			})
		}
	}
}

// TestNobodyLivesThere: the name is gone and the process, too. Another has its
// number by now, in a namespace that is marked for somebody else.
func TestNobodyLivesThere(t *testing.T) {
	people := population{}
	l := labWith(t, kerneltest.New(t), kernel.Options{Firewall: noFirewall{}, Census: people.take})
	want := kerneltest.Attached(t, 2)
	l.apply(t, desired.State{}, want)
	space, other := kerneltest.Space(0), kerneltest.Space(1)
	stranger := people.live(t, l, other)
	reused := people[other][0]
	reused.Started--
	people[space] = []netns.Process{reused}
	home, others := l.identity(t, space), l.identity(t, other)
	l.sh(t, "", "umount '"+l.host.Dir+"/"+space+"'")
	if _, err := l.Resync(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got := l.identity(t, space); got == home || got == others {
		t.Errorf("the name leads to %s; it was %s, and the stranger's is %s", got, home, others)
	}
	l.sh(t, space, "ping -c1 -w5 10.9.1.2")
	end(stranger)
}

// TestOwnNamespaceOfAContainer: a container has namespaces of its own inside. The
// one that is ours is found, whichever process is looked at first.
func TestOwnNamespaceOfAContainer(t *testing.T) {
	people := population{}
	l := labWith(t, kerneltest.New(t), kernel.Options{Firewall: noFirewall{}, Census: people.take})
	want := kerneltest.Attached(t, 1)
	l.apply(t, desired.State{}, want)
	space := kerneltest.Space(0)
	people.live(t, l, space)
	nested := exec.Command("unshare", "--net", "sleep", "1000")
	if err := l.Netns().Do(t.Context(), space, nested.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(nested) })
	eventually(t, "the process is in a namespace of its own", func() bool {
		comm := l.sh(t, "", "cat /proc/"+strconv.Itoa(nested.Process.Pid)+"/comm")
		return comm == "sleep"
	})
	inner, err := netns.Identify(nested.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	people[space] = append([]netns.Process{inner}, people[space]...)
	home := l.identity(t, space)
	l.sh(t, "", "umount '"+l.host.Dir+"/"+space+"'")
	if _, err := l.Resync(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got := l.identity(t, space); got != home {
		t.Errorf("the name leads to %s instead of %s", got, home)
	}
}

// TestSlowToEnd: a process outlives its container's stop, and so does its
// namespace. The next start gets one of its own.
func TestSlowToEnd(t *testing.T) {
	people := population{}
	host := kerneltest.New(t)
	l := labWith(t, host, kernel.Options{Firewall: noFirewall{}, Census: people.take})
	want := kerneltest.Attached(t, 1)
	l.apply(t, desired.State{}, want)
	space := kerneltest.Space(0)
	people.live(t, l, space)
	home := l.identity(t, space)
	l.apply(t, want, kerneltest.Attached(t, 0))
	eventually(t, "the name is gone", func() bool { return !l.Netns().IsHusk(space) && !there(filepath.Join(host.Dir, space)) })
	if _, err := l.Resync(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got := l.identity(t, space); got == home {
		t.Error("the namespace of the previous run is back")
	}
}

func there(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil
}

// TestSharedFolder: two engines have the folder of namespaces in common, but not
// the mounts in it (as in a container that has it bound). Neither harms the other.
func TestSharedFolder(t *testing.T) {
	host := kerneltest.New(t)
	people := population{}
	a := labWith(t, host, kernel.Options{Firewall: noFirewall{}, Census: people.take})
	want := kerneltest.Attached(t, 1)
	a.apply(t, desired.State{}, want)
	space := kerneltest.Space(0)
	people.live(t, a, space)
	home := a.identity(t, space)
	// b sees the file, and nothing mounted on it.
	a.sh(t, "", "umount '"+host.Dir+"/"+space+"'")
	second := kerneltest.New(t)
	second.Dir = host.Dir
	b := labWith(t, second, kernel.Options{Instance: "test1", Firewall: noFirewall{}, Census: people.take})
	if r, err := b.Resync(t.Context(), desired.State{}); err != nil || len(r.Drift) != 0 || r.Writes != 0 {
		t.Errorf("the second engine: %+v, %v", r, err)
	}
	if !there(filepath.Join(host.Dir, space)) {
		t.Error("the second engine removed the first one's file")
	}
	if _, err := a.Resync(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got := a.identity(t, space); got != home {
		t.Errorf("the name leads to %s instead of %s", got, home)
	}
}
