package guard

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/iptables"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/nft"
)

const holdName = nft.HeldPrefix + "1"

// lab is a guard of a host of its own.
type lab struct {
	*Guard
	host kerneltest.Host
	file *os.File
	t    testing.TB
}

func (l lab) enter(f func() error) (err error) {
	l.host.Do(l.t, func() { err = f() })
	return err
}

var settings = Settings{Instance: "test", Backend: "nftables"}

func newLab(t testing.TB) lab {
	t.Helper()
	l := lab{host: kerneltest.New(t), t: t}
	var err error
	if l.file, err = os.Open(l.host.Netns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.file.Close() })
	l.Guard = New(Options{
		Open: l.open,
		Hold: func(s Settings) (kernel.Firewall, func() error, error) {
			b, err := nft.New(nft.Options{Held: holdName, Beside: s.Backend == "iptables", Off4: s.Off4, Off6: s.Off6})
			return b, b.Close, err
		},
		Enter: l.enter,
	})
	t.Cleanup(l.Close)
	return l
}

// open opens the firewall that settings name.
func (l lab) open(ctx context.Context, s Settings) (kernel.Firewall, func() error, error) {
	withIPTables := s.Backend == "iptables"
	tables, err := nft.New(nft.Options{Instance: s.Instance, NetNS: int(l.file.Fd()), Beside: withIPTables})
	if err != nil || !withIPTables {
		return tables, tables.Close, err
	}
	rules, err := iptables.New(ctx, iptables.Options{Beside: tables, Enter: l.enter})
	return rules, tables.Close, err
}

// daemon writes rows to the firewall as a daemon does, and tells the guard.
func (l lab) daemon(t testing.TB, rows ...desired.Row) {
	t.Helper()
	l.daemonOf(t, settings, rows...)
}

func (l lab) daemonOf(t testing.TB, settings Settings, rows ...desired.Row) {
	t.Helper()
	b, shut, err := l.open(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	defer shut()
	if _, err := b.Resync(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	want, err := desired.State{}.Replace("o", rows)
	if err != nil {
		t.Fatal(err)
	}
	l.Configure(settings)
	l.Resync(want)
}

// nft runs a command by a shell, so that it is no child of the test's.
func (l lab) nft(t *testing.T, command string) (out string, ok bool) {
	t.Helper()
	l.host.Do(t, func() {
		b, err := exec.Command("sh", "-c", "nft "+command+" && :").CombinedOutput()
		out, ok = strings.ReplaceAll(string(b), "table inet "+holdName+"\n", ""), err == nil
	})
	return out, ok
}

func (l lab) must(t *testing.T, command string) string {
	t.Helper()
	out, ok := l.nft(t, command)
	if !ok {
		t.Fatalf("nft %s: %s", command, out)
	}
	return out
}

func (l lab) eventually(t *testing.T, command, want string) {
	t.Helper()
	eventually(t, "nft "+command+" has "+want, func() bool {
		out, _ := l.nft(t, command)
		return strings.Contains(out, want)
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) { // poll
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func rows() []desired.Row {
	return []desired.Row{
		desired.BridgePolicy{Bridge: "br0", ICC: true},
		desired.Masquerade{Bridge: "br0", Subnet: netip.MustParsePrefix("10.9.0.0/16")},
	}
}

const bridges = "list set inet linkspan bridges"

// TestNothingToGuard: a daemon that has taken away what it made, and ends, leaves nothing that the guard would make again.
func TestNothingToGuard(t *testing.T) {
	l := newLab(t)
	l.Rest()
	l.daemon(t, rows()...)
	l.Resync(desired.State{})
	l.must(t, "flush ruleset")
	l.Resume()
	if l.stop != nil {
		t.Error("it looks after a firewall without policies")
	}
	l.Rest()
	l.daemon(t, rows()...)
	l.Resume()
	l.must(t, "flush ruleset")
	l.eventually(t, bridges, "br0")
}

// TestOnlyWithoutADaemon: the guard restores what others remove while there is no daemon,
// and nothing while there is one.
func TestOnlyWithoutADaemon(t *testing.T) {
	l := newLab(t)
	l.Rest()
	l.daemon(t, rows()...)
	l.must(t, "flush ruleset")
	if out := l.must(t, "list tables"); out != "" {
		t.Errorf("restored beside a daemon: %s", out)
	}
	l.Resume() // gone it is still
	l.eventually(t, bridges, "br0")
	l.must(t, "flush ruleset")
	l.eventually(t, bridges, "br0")
	l.must(t, "flush set inet linkspan bridges")
	l.eventually(t, bridges, "br0")
	l.must(t, "delete table bridge linkspan")
	l.eventually(t, "list tables", "table bridge linkspan")
	l.Rest()
	l.must(t, "flush ruleset")
	if out := l.must(t, "list tables"); out != "" {
		t.Errorf("restored beside the next daemon: %s", out)
	}
}

// TestRowsFollow: what is restored is what was asked for last.
func TestRowsFollow(t *testing.T) {
	l := newLab(t)
	l.Rest()
	l.daemon(t, rows()...)
	l.Apply([]desired.Delta{
		{Old: desired.BridgePolicy{Bridge: "br0", ICC: true}}, {New: desired.BridgePolicy{Bridge: "br1"}},
		{New: desired.Link{Name: "br1"}}, // is none of its business
	})
	l.Resume()
	l.must(t, "flush ruleset")
	l.eventually(t, bridges, "br1")
	if out := l.must(t, bridges); strings.Contains(out, "br0") {
		t.Errorf("what is no longer wanted: %s", out)
	}
}

// TestUnfinishedStays: what a daemon that was killed had written, and had not told, is not
// taken for a stranger's.
func TestUnfinishedStays(t *testing.T) {
	l := newLab(t)
	l.Rest()
	l.daemon(t, rows()...)
	l.must(t, "add element inet linkspan bridges { br9 }")
	l.Resume()
	l.must(t, "add table inet other") // what the guard does first is done, or it is not
	l.Rest()
	if out := l.must(t, bridges); !strings.Contains(out, "br9") {
		t.Errorf("%s", out)
	}
}

// TestTornWhileNobodyLooked: what was taken away between a daemon's end and the guard's
// beginning is restored, with either backend; rules of single rows, which the daemon may
// have been about to change, are left as they are.
func TestTornWhileNobodyLooked(t *testing.T) {
	withIPTables := settings
	withIPTables.Backend = "iptables"
	const masquerade = "iptables -t nat -S POSTROUTING | grep 10.9.0.0/16"
	for _, c := range []struct {
		name         string
		settings     Settings
		damage, look string
		restored     bool
	}{
		{"nft flush ruleset", settings, "nft flush ruleset", "nft list set inet linkspan bridges | grep br0", true},
		{"nft flush table", settings, "nft flush table inet linkspan", "nft list chain inet linkspan forward | grep drop", true},
		{"one element", settings, "nft flush set inet linkspan bridges", "nft list set inet linkspan bridges | grep br0", false},
		{"iptables -F", withIPTables, "iptables -F", "iptables -S FORWARD | grep DOCKER-FORWARD", true},
		{"iptables -t nat -F", withIPTables, "iptables -t nat -F", masquerade, true},
		{"iptables, all tables", withIPTables, "nft flush ruleset", masquerade, true},
		{"iptables, one rule", withIPTables, "iptables -t nat -D POSTROUTING $(" + masquerade + " | cut -d' ' -f3- | tr -d '\\042')", masquerade, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.Rest()
			l.daemonOf(t, c.settings, rows()...)
			sh := func(line string) (out string, err error) {
				l.host.Do(t, func() {
					var b []byte
					b, err = exec.Command("sh", "-c", line).CombinedOutput()
					out = string(b)
				})
				return out, err
			}
			if out, err := sh(c.look); err != nil {
				t.Fatalf("%s: %s", c.look, out)
			}
			if out, err := sh(c.damage); err != nil {
				t.Fatalf("%s: %s", c.damage, out)
			}
			l.Resume()
			if c.restored {
				eventually(t, c.look, func() bool { _, err := sh(c.look); return err == nil })
				return
			}
			l.Rest() // what the guard does first is done, or it is not
			if out, err := sh(c.look); err == nil {
				t.Errorf("restored: %s", out)
			}
		})
	}
}

// TestHold: the table that keeps containers' connections translated outlives a flush, and
// ends with the last container and with the guard.
func TestHold(t *testing.T) {
	l := newLab(t)
	l.Rest()
	port := desired.PortSecurity{Port: "veth0", Bridge: "br0", MAC: "02:42:00:00:00:02", Addrs: []netip.Addr{netip.MustParseAddr("10.9.0.2")}}
	list := func() (out string) {
		l.host.Do(t, func() {
			b, _ := exec.Command("nft", "list", "ruleset").CombinedOutput()
			out = string(b)
		})
		return out
	}
	l.daemon(t, rows()...)
	if out := list(); strings.Contains(out, holdName) {
		t.Errorf("held without a container: %s", out)
	}
	l.Apply([]desired.Delta{{Owner: "endpoint/1", New: port}})
	l.must(t, "flush ruleset")
	for _, want := range []string{holdName, "type nat hook prerouting", "type nat hook input", "type nat hook output", "type nat hook postrouting"} {
		if out := list(); !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	l.Apply([]desired.Delta{{Owner: "endpoint/1", Old: port}})
	eventually(t, "nothing is held after the last container", func() bool { return !strings.Contains(list(), holdName) })
	l.Apply([]desired.Delta{{Owner: "endpoint/1", New: port}})
	off := settings
	off.Off4, off.Off6 = true, true
	l.Configure(off) // the next daemon writes no rules
	l.Resync(desired.State{})
	if out := list(); out != "" {
		t.Errorf("left over without rules: %s", out)
	}
	l.daemon(t, append(rows(), port)...)
	if out := list(); !strings.Contains(out, holdName) {
		t.Errorf("nothing is held: %s", out)
	}
	l.Close()
	if out := list(); strings.Contains(out, holdName) {
		t.Errorf("left over: %s", out)
	}
}

// TestHoldFollows: what is held says what the rows say, with a daemon and without, and
// nobody else can change it.
func TestHoldFollows(t *testing.T) {
	l := newLab(t)
	l.Rest()
	port := desired.PortSecurity{Port: "veth0", Bridge: "br0", MAC: "02:42:00:00:00:02", Addrs: []netip.Addr{netip.MustParseAddr("10.9.0.2")}}
	l.daemon(t, append(rows(), port)...)
	l.must(t, "flush ruleset")
	if out := l.must(t, "list set inet "+holdName+" bridges"); !strings.Contains(out, `"br0"`) {
		t.Errorf("br0 is not held shut: %s", out)
	}
	if out, ok := l.nft(t, "delete table inet "+holdName); ok {
		t.Errorf("a stranger may delete it: %s", out)
	}
	apart := desired.BridgePolicy{Bridge: "br1"}
	l.Apply([]desired.Delta{{New: apart}, {New: desired.Direct{Bridge: "br0", Addr: netip.MustParseAddr("10.9.0.2")}}, {New: desired.AcceptMark{Mark: 7, Mask: 0xff}}})
	for set, want := range map[string]string{"bridges": `"br1"`, "direct4": "10.9.0.2"} {
		if out := l.must(t, "list set inet "+holdName+" "+set); !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	if out := l.must(t, "list chain inet "+holdName+" forward"); !strings.Contains(out, "by its mark") {
		t.Errorf("the mark is not let in: %s", out)
	}
	if out := l.must(t, "list table bridge "+holdName); !strings.Contains(out, "icc=false") {
		t.Errorf("frames are not kept apart: %s", out)
	}
	l.Apply([]desired.Delta{{Old: apart}})
	if out, ok := l.nft(t, "list table bridge "+holdName); ok {
		t.Errorf("left over: %s", out)
	}
	iptables := settings
	iptables.Backend = "iptables"
	want, err := desired.State{}.Replace("o", append(rows(), port))
	if err != nil {
		t.Fatal(err)
	}
	l.Configure(iptables)
	l.Resync(want)
	if out := l.must(t, "list set inet "+holdName+" closed4"); !strings.Contains(out, `"br0"`) {
		t.Errorf("not held for the other backend: %s", out)
	}
}

// TestHandedOver: the next guard knows what this one knew, and this one writes nothing
// any more. One that was told nothing restores nothing.
func TestHandedOver(t *testing.T) {
	l := newLab(t)
	if _, _, ok := l.Release(); ok {
		t.Error("a guard that was told nothing has something to hand over")
	}
	l.daemon(t, rows()...)
	kept, s, ok := l.Release()
	if !ok || len(kept) != 2 || s != settings {
		t.Fatalf("%v, %+v, %t", kept, s, ok)
	}
	l.must(t, "flush ruleset")
	if out := l.must(t, "list tables"); out != "" {
		t.Errorf("restored after its end: %s", out)
	}
	next := New(l.o)
	defer next.Close()
	next.Adopt(kept, s)
	l.eventually(t, bridges, "br0")
}
