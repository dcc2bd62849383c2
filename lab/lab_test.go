package lab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// needRoot skips a test that builds a lab where that is not allowed.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a lab needs root")
	}
}

// must returns a function that fails the test unless a command succeeded, and hands on what it printed.
func must(t *testing.T) func(out string, err error) string {
	return func(out string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func TestHostsReachEachOtherAndTheWorld(t *testing.T) {
	needRoot(t)
	l := New(t, Options{Hosts: 2})
	ctx := t.Context()
	targets := []string{worldAddr4, worldAddr6, beyondAddr4, beyondAddr6, l.Host(2).Addr4.String(), l.Host(2).Addr6.String()}
	for _, target := range targets {
		must(t)(ping(ctx, l.Host(1).Machine, target))
	}
	must(t)(ping(ctx, l.World().Machine, l.Host(2).Addr4.String()))
	if _, err := ping(ctx, l.Host(1).Machine, "198.51.100.77"); err == nil {
		t.Error("an address that nobody has answers")
	}
}

// ping sends one packet.
func ping(ctx context.Context, from *Machine, to string) (string, error) {
	return from.Run(ctx, "ping", "-c", "1", "-W", "2", to)
}

func TestWorldAnswersNames(t *testing.T) {
	needRoot(t)
	l := New(t, Options{})
	h := l.Host(1)
	if got := must(t)(h.Run(t.Context(), "getent", "ahostsv4", worldName)); !strings.HasPrefix(got, beyondAddr4) {
		t.Errorf("%s is %q, want %s", worldName, got, beyondAddr4)
	}
	if got := must(t)(h.Run(t.Context(), "getent", "hosts", "h1")); !strings.HasPrefix(got, h.Addr4.String()) {
		t.Errorf("/etc/hosts: h1 is %q, want %s", got, h.Addr4)
	}
	began := time.Now()
	if got, err := h.Run(t.Context(), "getent", "ahostsv4", "nobody.invalid"); err == nil {
		t.Errorf("an unknown name resolves to %q", got)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("an unknown name takes %s: nobody said NXDOMAIN", took)
	}
	if log := l.World().DNSLog(); !strings.Contains(log, "query[A] "+worldName+" from "+h.Addr4.String()) {
		t.Errorf("the query is not in the log:\n%s", log)
	}
}

func TestHostsHaveTheirOwnFiles(t *testing.T) {
	needRoot(t)
	l := New(t, Options{Hosts: 2})
	h1, h2, ctx := l.Host(1), l.Host(2), t.Context()
	must(t)(h1.Run(ctx, "touch", "/run/only-here"))
	if _, err := h2.Run(ctx, "test", "-e", "/run/only-here"); err == nil {
		t.Error("/run is shared between hosts")
	}
	if _, err := os.Stat("/run/only-here"); err == nil {
		t.Error("/run is shared with the real machine")
	}
	if got := must(t)(h1.Run(ctx, "ls", "/sys/class/net")); got != "eth0\nlo" {
		t.Errorf("/sys/class/net shows %q", got)
	}
	if got := must(t)(h2.Run(ctx, "hostname")); got != "h2" {
		t.Errorf("the host is called %q", got)
	}
	const cgroups = "findmnt -Rnlo TARGET " + cgroupRoot
	real, err := output(exec.Command("sh", "-c", cgroups), "the real machine", nil)
	if got := must(t)(h1.Run(ctx, "sh", "-c", cgroups)); err != nil || got == "" || got != real {
		t.Errorf("the host sees the cgroups\n%s\nthe real machine\n%s\n%v", got, real, err)
	}
	if err := h1.SetResolvConf("nameserver 192.0.2.1\n"); err != nil {
		t.Fatal(err)
	}
	if got := must(t)(h1.Run(ctx, "cat", "/etc/resolv.conf")); got != "nameserver 192.0.2.1" {
		t.Errorf("resolv.conf is %q", got)
	}
}

func TestNamedNamespacesWorkAsOnARealHost(t *testing.T) {
	needRoot(t)
	h, ctx := New(t, Options{}).Host(1), t.Context()
	must(t)(h.Run(ctx, "ip", "netns", "add", "blue"))
	if got := must(t)(h.Run(ctx, "ip", "netns", "exec", "blue", "ls", "/sys/class/net")); got != "lo" {
		t.Errorf("a fresh namespace has %q", got)
	}
	if err := h.noNamespaces(ctx); err == nil || !strings.Contains(err.Error(), "blue") {
		t.Errorf("blue is not found to be left over: %v", err)
	}
	must(t)(h.Run(ctx, "ip", "netns", "del", "blue"))
	if err := h.CheckClean(ctx); err != nil {
		t.Error(err)
	}
}

func TestBridgeNF(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		t.Skip("br_netfilter is not loaded")
	}
	for setting, want := range map[BridgeNF]string{BridgeNFOff: "0", BridgeNFOn: "1"} {
		h := New(t, Options{BridgeNF: setting}).Host(1)
		if got := must(t)(h.Run(t.Context(), "sysctl", "-n", "net.bridge.bridge-nf-call-iptables")); got != want {
			t.Errorf("setting %d: bridge-nf-call-iptables is %s, want %s", setting, got, want)
		}
	}
}

func TestOrphansAreReaped(t *testing.T) {
	needRoot(t)
	h := New(t, Options{}).Host(1)
	must(t)(h.Run(t.Context(), "sh", "-c", "(sleep .1 >/dev/null 2>&1 &) & :"))
	if err := noneCalled(t.Context(), h, "sleep"); err != nil {
		t.Error(err)
	}
}

// noneCalled waits until the host has no process of that name, not even a zombie.
func noneCalled(ctx context.Context, h *Host, name string) error {
	return Until(ctx, 5*time.Second, func() error {
		out, err := h.Run(ctx, "ps", "-eo", "pid=,stat=,comm=")
		if strings.Contains(out, name) {
			return leftover("process", lines(out))
		}
		return err
	})
}

func TestCommandEndsWithItsContext(t *testing.T) {
	needRoot(t)
	h := New(t, Options{}).Host(1)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := h.Run(ctx, "sleep", "1000"); err == nil {
		t.Error("sleep was not ended")
	}
	// a process that came in from outside is reaped outside: by the real machine's first process, when it cares to
	if err := noneCalled(t.Context(), h, "sleep"); err != nil {
		t.Error(err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	needRoot(t)
	l, err := Up(Options{})
	if err != nil {
		t.Fatal(err)
	}
	h, dir := l.Host(1), l.Dir()
	must(t)(h.Run(t.Context(), "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & mount -t tmpfs tmpfs /mnt; ip netns add blue; ip link add up type veth peer name down netns blue"))
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is still there", dir)
	}
	if err := l.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

func TestLeftoversAreNoticed(t *testing.T) {
	needRoot(t)
	h, ctx := New(t, Options{}).Host(1), t.Context()
	if err := h.remember(ctx); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		dirty, tidy, want string
		check             func(context.Context) error
	}{
		{"ip link add left type veth peer name right", "ip link del left", "veth", h.noVeth},
		{"mkfifo /run/pipe", "rm /run/pipe", "/run/pipe", h.noFifos},
		{"nft add table inet linkspan", "nft delete table inet linkspan", "table inet linkspan", h.noExtraRules},
		{"mkdir /run/m; mount -t tmpfs tmpfs /run/m", "umount /run/m", "/run/m", h.noExtraMounts},
	}
	for _, step := range steps {
		must(t)(h.Run(ctx, "sh", "-c", step.dirty))
		if err := step.check(ctx); err == nil || !strings.Contains(err.Error(), step.want) {
			t.Errorf("after %q: %v", step.dirty, err)
		}
		must(t)(h.Run(ctx, "sh", "-c", step.tidy))
		if err := step.check(ctx); err != nil {
			t.Errorf("after %q: %v", step.tidy, err)
		}
	}
}

func TestHexID(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for name, want := range map[string]string{
		id: id, "docker-" + id + ".scope": id, id[1:]: "", "": "", "linkspan": "", "X" + id: id,
	} {
		if got := hexID(name); got != want {
			t.Errorf("hexID(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestAdded(t *testing.T) {
	got := added([]string{"a", "b", "b"}, []string{"b", "c", "a", "a"})
	if strings.Join(got, " ") != "c a" {
		t.Errorf("added = %q", got)
	}
}

// TestSavedTables: what iptables writes is compared in its own words, and everything else in nft's.
func TestSavedTables(t *testing.T) {
	saved := savedLines("ip", lines("# Generated\n*nat\n:DOCKER - [0:0]\n[3:4] -A x\n-A DOCKER -j RETURN\nCOMMIT\n"))
	listing := lines("table ip nat {\n\tchain DOCKER {\n\t}\n}\ntable ip6 nat {\n\tset a {\n\t}\n}\ntable inet linkspan {\n}")
	got := strings.Join(append(withoutSaved(listing, saved), saved...), "|")
	if want := "table ip6 nat {|\tset a {|\t}|}|table inet linkspan {|}|ip *nat|ip *nat :DOCKER -|ip *nat -A DOCKER -j RETURN"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTooManyHosts(t *testing.T) {
	needRoot(t)
	if l, err := Up(Options{Hosts: maxHosts + 1}); err == nil {
		t.Errorf("a lab of %d hosts was built: %v", maxHosts+1, l.Close())
	}
}

func TestHiddenMountsAreNotSeen(t *testing.T) {
	const table = `20 1 0:1 / / rw - ext4 d rw
21 20 0:2 / /run rw - tmpfs t rw
22 21 0:3 / /run/netns rw - tmpfs t rw
23 22 0:4 net:[1] /run/netns/elsewhere rw - nsfs n rw
24 21 0:5 / /run rw - tmpfs t rw
25 24 0:6 / /run/netns rw - tmpfs t rw
26 25 0:4 net:[2] /run/netns/here rw - nsfs n rw`
	got := strings.Join(visible(strings.Split(table, "\n")), " ")
	if want := "/ /run /run /run/netns /run/netns/here"; got != want {
		t.Errorf("visible: %s, not %s", got, want)
	}
}

// TestRootThatIsNoMount: in a chroot the lab cannot be built, and says why.
func TestRootThatIsNoMount(t *testing.T) {
	needRoot(t)
	// The first process begins with a root that is an ordinary folder, which has the real machine's programs.
	root := t.TempDir()
	script := `set -e; for d in /*; do case $d in /tmp|/proc|/sys|/run) continue;; esac
		if [ -L "$d" ]; then cp -a "$d" "$1"; elif [ -d "$d" ]; then mkdir "$1$d"; mount --rbind "$d" "$1$d"; fi; done
		exec chroot "$1" bash -c "$2" machine x /nowhere`
	out, err := exec.Command("unshare", "--mount", "bash", "-c", script, "chroot", root, firstProcess).CombinedOutput()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != 1 || !strings.Contains(string(out), "the root directory is no mount point") {
		t.Errorf("%v: %s", err, out)
	}
}
