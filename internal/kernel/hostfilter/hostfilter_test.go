package hostfilter

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
)

// inner is a firewall that finds everything as it is wanted.
type inner struct{ kernel.Firewall }

func (inner) Apply(context.Context, []desired.Delta) error { return nil }
func (inner) Resync(context.Context, []desired.Row) (desired.Report, error) {
	return desired.Report{}, nil
}
func (inner) Check(context.Context, []desired.Row) (desired.Report, error) {
	return desired.Report{}, nil
}

// bench is a host with a filter of its own, and the firewall that is tried on it.
type bench struct {
	*testing.T
	host kerneltest.Host
	netd *os.File
	*Firewall
}

// tryOn makes a host whose iptables is found in these folders.
func tryOn(t *testing.T, path ...string) *bench {
	host := kerneltest.New(t)
	file, err := os.Open(host.Netns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	b := &bench{T: t, host: host, netd: file}
	b.restart(path...)
	return b
}

// restart gives the host a firewall that knows nothing of what was before.
func (b *bench) restart(path ...string) {
	dir := b.host.Namespaces(b.T)
	b.Firewall = New(inner{}, Options{
		IPv4: true, IPv6: true, NetNS: int(b.netd.Fd()), Path: append([]string{}, path...),
		Enter: func(f func() error) error { return dir.Do(b.T.Context(), "", f) },
	})
	b.Cleanup(func() { b.Firewall.Close() })
}

// links makes a folder with programs under other names.
func links(t *testing.T, programs map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, target := range programs {
		path, err := exec.LookPath(target)
		if err != nil {
			t.Skipf("needs %s", target)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func withNFT(t *testing.T) string    { return links(t, programsOf("-nft")) }
func withLegacy(t *testing.T) string { return links(t, programsOf("-legacy")) }

func programsOf(suffix string) map[string]string {
	programs := map[string]string{}
	for _, of := range []string{"iptables", "ip6tables"} {
		for _, verb := range []string{"", "-save", "-restore"} {
			programs[of+verb] = of + suffix + verb
		}
	}
	return programs
}

// sh runs a script on the host and returns what it prints.
func (b *bench) sh(script string) string {
	b.Helper()
	var out []byte
	var err error
	b.host.Do(b.T, func() { out, err = exec.Command("sh", "-c", script).CombinedOutput() })
	if err != nil {
		b.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func policies(bridges ...string) (rows []desired.Row) {
	for _, name := range bridges {
		rows = append(rows, desired.BridgePolicy{Bridge: name, ICC: true})
	}
	return rows
}

// resync asks that it write or not, and that then nothing be left to do.
func (b *bench) resync(writes bool, rows []desired.Row) desired.Report {
	b.Helper()
	report, err := b.Resync(b.Context(), rows)
	if err != nil {
		b.Fatal(err)
	}
	if writes != (report.Writes > 0) || writes != (len(report.Drift) > 0) {
		b.Errorf("resync: %d writes, %q; want some: %t", report.Writes, report.Drift, writes)
	}
	again, err := b.Check(b.Context(), rows)
	if err != nil || len(again.Drift) > 0 {
		b.Errorf("after resync: %q, %v", again.Drift, err)
	}
	return report
}

// rules are what iptables -S prints of chains that matter, in both families alike.
func (b *bench) rules(suffix string) []string {
	b.Helper()
	show := func(program string) []string {
		lines := strings.Split(b.sh(program+suffix+" -S 2>&1"), "\n")
		return slices.DeleteFunc(lines, func(l string) bool {
			return l == "" || l == "-P INPUT ACCEPT" || l == "-P OUTPUT ACCEPT"
		})
	}
	four, six := show("iptables"), show("ip6tables")
	if !slices.Equal(four, six) {
		b.Errorf("iptables: %q\nip6tables: %q", four, six)
	}
	return four
}

func (b *bench) want(suffix string, lines ...string) {
	b.Helper()
	if got := b.rules(suffix); !slices.Equal(got, lines) {
		b.Errorf("%s:\n%s\nwant:\n%s", suffix, strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

var skeleton = []string{
	"-P FORWARD ACCEPT", "-N DOCKER-USER", "-N LINKSPAN-FORWARD",
	"-A FORWARD -j DOCKER-USER", "-A FORWARD -j LINKSPAN-FORWARD",
}

func accepting(bridges ...string) (lines []string) {
	for _, name := range bridges {
		lines = append(lines, "-A LINKSPAN-FORWARD -i "+name+" -j ACCEPT", "-A LINKSPAN-FORWARD -o "+name+" -j ACCEPT")
	}
	return lines
}

// kinds are the two sorts of iptables, each with the end of its programs' names.
var kinds = []struct {
	suffix string
	path   func(*testing.T) string
}{{"-nft", withNFT}, {"-legacy", withLegacy}}

// everyKind runs a test with each sort of iptables.
func everyKind(t *testing.T, run func(t *testing.T, b *bench, suffix, path string)) {
	for _, k := range kinds {
		t.Run(k.suffix[1:], func(t *testing.T) {
			path := k.path(t)
			run(t, tryOn(t, path), k.suffix, path)
		})
	}
}

func TestIptablesShowsAndKeepsTheChains(t *testing.T) {
	everyKind(t, func(t *testing.T, b *bench, suffix, path string) {
		rows := policies("br-0", "docker0")
		b.resync(true, rows)
		b.want(suffix, append(slices.Clone(skeleton), accepting("br-0", "docker0")...)...)
		if out := b.sh("iptables" + suffix + " -L DOCKER-USER -n"); !strings.HasPrefix(out, "Chain DOCKER-USER (1 references)\n") {
			t.Errorf("iptables -L: %s", out)
		}
		for _, program := range []string{"iptables", "ip6tables"} {
			p := program + suffix
			b.sh(p + "-save -t filter > /tmp/x.$$ && " + p + "-restore < /tmp/x.$$; code=$?; rm /tmp/x.$$; exit $code")
		}
		b.resync(false, rows)
		b.restart(path) // everything
		b.resync(false, rows)
	})
}

func TestUsersRulesAndPoliciesStay(t *testing.T) {
	everyKind(t, func(t *testing.T, b *bench, suffix, path string) {
		rows := policies("br-0")
		b.resync(true, rows)
		for _, program := range []string{"iptables", "ip6tables"} {
			b.sh(program + suffix + ` -I DOCKER-USER -i eth0 -j DROP && ` + program + suffix + ` -A DOCKER-USER -j RETURN && ` +
				program + suffix + ` -P FORWARD DROP && ` + program + suffix + ` -A FORWARD -i virbr0 -j REJECT`)
		}
		b.resync(false, rows)
		whole := append([]string{
			"-P FORWARD DROP", "-N DOCKER-USER", "-N LINKSPAN-FORWARD",
			"-A FORWARD -j DOCKER-USER", "-A FORWARD -j LINKSPAN-FORWARD",
			"-A FORWARD -i virbr0 -j REJECT", "-A DOCKER-USER -i eth0 -j DROP", "-A DOCKER-USER -j RETURN",
		}, accepting("br-0")...)
		reject := func(lines []string) []string {
			for i, l := range lines { // each family has its own default
				if head, _, found := strings.Cut(l, " --reject-with"); found {
					lines[i] = head
				}
			}
			return lines
		}
		same := func() {
			t.Helper()
			for _, program := range []string{"iptables", "ip6tables"} {
				var got []string
				for _, l := range reject(strings.Split(b.sh(program+suffix+" -S"), "\n")) {
					if strings.HasPrefix(l, "-P INPUT") || strings.HasPrefix(l, "-P OUTPUT") || l == "" {
						continue
					}
					got = append(got, l)
				}
				if !slices.Equal(got, whole) {
					t.Errorf("%s:\n%s\nwant:\n%s", program, strings.Join(got, "\n"), strings.Join(whole, "\n"))
				}
			}
		}
		same()
		for _, damage := range []string{
			"-D FORWARD -j DOCKER-USER",
			"-D FORWARD -j LINKSPAN-FORWARD",
			"-F LINKSPAN-FORWARD",
			"-A LINKSPAN-FORWARD -i evil -j ACCEPT",
			"-A LINKSPAN-FORWARD -i br-0 -j ACCEPT", // twice
			"-R LINKSPAN-FORWARD 1 -i br-+ -j ACCEPT",
			"-R LINKSPAN-FORWARD 1 -i br-0 -j DROP",
			"-R LINKSPAN-FORWARD 1 ! -i br-0 -j ACCEPT",
			"-I FORWARD -j LINKSPAN-FORWARD", // before the user's
		} {
			b.sh("iptables" + suffix + " " + damage)
			b.resync(true, rows)
			same()
		}
	})
}

func TestPlaceAmongOthers(t *testing.T) {
	everyKind(t, func(t *testing.T, b *bench, suffix, path string) {
		both := func(args string) {
			b.sh("iptables" + suffix + " " + args + " && ip6tables" + suffix + " " + args)
		}
		both("-A FORWARD -i virbr0 -j ACCEPT")
		b.resync(true, nil)
		b.want(suffix, append(slices.Clone(skeleton), "-A FORWARD -i virbr0 -j ACCEPT")...)
		both("-I FORWARD -i wg0 -j DROP") // stays where it was put
		b.resync(false, nil)
		b.restart(path) // until we start anew, as with Docker
		b.resync(true, nil)
		b.want(suffix, append(slices.Clone(skeleton), "-A FORWARD -i wg0 -j DROP", "-A FORWARD -i virbr0 -j ACCEPT")...)
	})
}

func TestChainsComeBack(t *testing.T) {
	everyKind(t, func(t *testing.T, b *bench, suffix, path string) {
		rows := policies("br-0")
		b.resync(true, rows)
		b.sh("iptables" + suffix + " -F && iptables" + suffix + " -X")
		report := b.resync(true, rows)
		for _, what := range []string{"DOCKER-USER", "LINKSPAN-FORWARD"} {
			if !strings.Contains(strings.Join(report.Drift, "\n"), "chain "+what+":") {
				t.Errorf("what was lost: %q; want chain %s in it", report.Drift, what)
			}
		}
		b.want(suffix, append(slices.Clone(skeleton), accepting("br-0")...)...)
		if suffix == "-nft" {
			b.sh("nft flush ruleset")
			b.resync(true, rows)
			b.want(suffix, append(slices.Clone(skeleton), accepting("br-0")...)...)
		}
	})
}

func TestNetworksComeAndGo(t *testing.T) {
	everyKind(t, func(t *testing.T, b *bench, suffix, path string) {
		b.resync(true, policies("docker0"))
		row := func(i int) desired.BridgePolicy { return desired.BridgePolicy{Bridge: fmt.Sprintf("br-%d", i)} }
		apply := func(deltas ...desired.Delta) {
			t.Helper()
			if err := b.Apply(t.Context(), deltas); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 5 {
			apply(desired.Delta{New: row(i)})
		}
		changed := row(3)
		changed.Internal = true // has its rules all the same
		apply(desired.Delta{Old: row(1)}, desired.Delta{Old: row(3), New: changed})
		b.beside.Wait()
		b.want(suffix, append(slices.Clone(skeleton), accepting(ordered(suffix, "docker0", "br-0", "br-2", "br-3", "br-4")...)...)...)

		b.sh("iptables" + suffix + " -F && iptables" + suffix + " -X") // in between
		apply(desired.Delta{Old: row(0)}, desired.Delta{New: row(5)})
		b.beside.Wait()
		b.resync(false, append(policies("docker0"), row(2), changed, row(4), row(5)))
	})
}

// ordered is how the rules of bridges come to stand: those that are written anew each
// time are sorted.
func ordered(suffix string, bridges ...string) []string {
	if suffix == "-legacy" {
		slices.Sort(bridges)
	}
	return bridges
}

// TestPollSeesWhatComesAndGoes: tables of iptables-legacy tell nobody.
func TestPollSeesWhatComesAndGoes(t *testing.T) {
	b := tryOn(t, withLegacy(t))
	poll := func(want bool) {
		t.Helper()
		if lost, err := b.Poll(t.Context()); lost != want || err != nil {
			t.Errorf("poll: %t, %v; want %t", lost, err, want)
		}
	}
	poll(false)
	if out := b.sh("cat /proc/net/ip_tables_names"); out != "" {
		t.Errorf("x_tables was loaded: %s", out)
	}
	b.resync(true, policies("br-0"))
	poll(false)
	if err := b.Apply(t.Context(), []desired.Delta{{New: desired.BridgePolicy{Bridge: "br-1"}}}); err != nil {
		t.Fatal(err)
	}
	b.beside.Wait()
	poll(false)
	for _, damage := range []string{
		"iptables-legacy -D FORWARD -j DOCKER-USER", "ip6tables-legacy -F LINKSPAN-FORWARD", "iptables-legacy -F; iptables-legacy -X",
	} {
		b.sh(damage)
		poll(true)
		b.resync(true, policies("br-0", "br-1"))
		poll(false)
	}
	b.sh("iptables-legacy -A DOCKER-USER -j DROP") // is looked at once
	poll(true)
	b.resync(false, policies("br-0", "br-1"))
	poll(false)
}

func TestManyNetworks(t *testing.T) {
	b := tryOn(t, withNFT(t))
	var names []string
	for i := range 2000 {
		names = append(names, fmt.Sprintf("br-%d", i))
	}
	b.resync(true, policies(names...))
	b.resync(true, policies(names[:1000]...))
}

func TestHostWithoutIptables(t *testing.T) {
	b := tryOn(t)
	rows := policies("br-0")
	b.resync(false, rows)
	if err := b.Apply(t.Context(), []desired.Delta{{New: desired.BridgePolicy{Bridge: "br-1"}}}); err != nil {
		t.Error(err)
	}
	if out := b.sh("nft list ruleset"); out != "" {
		t.Errorf("there is now:\n%s", out)
	}

	// somebody filters there, with or without the command
	b.sh("nft 'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }'")
	b.resync(true, rows)
	if out := b.sh("nft --stateless list ruleset"); !strings.Contains(out, "policy drop;\n\t\tcounter jump DOCKER-USER\n\t\tcounter jump LINKSPAN-FORWARD\n") ||
		strings.Contains(out, "ip6") {
		t.Errorf("there is now:\n%s", out)
	}

	// then iptables is installed
	b.restart(withNFT(t))
	b.resync(true, rows)
	b.sh("ip6tables-nft -C FORWARD -j DOCKER-USER")
}

// TestOtherTablesOfThatName: an administrator's own table may be called filter.
func TestOtherTablesOfThatName(t *testing.T) {
	b := tryOn(t)
	before := "table ip filter { chain forward { type filter hook forward priority 0; policy accept; }; chain input { }; }"
	b.sh("nft '" + before + "'")
	b.resync(false, policies("br-0"))

	b.sh("nft add chain ip filter FORWARD")
	report, err := b.Resync(t.Context(), policies("br-0"))
	if err != nil || report.Writes != 0 || !strings.Contains(b.families[0].said, "no base chain") {
		t.Errorf("%+v, %v; said %q", report, err, b.families[0].said)
	}
}

// TestLegacyTableBesideNFT: iptables has become iptables-nft, and the rules of before
// still hold.
func TestLegacyTableBesideNFT(t *testing.T) {
	dir := withNFT(t)
	for _, of := range []string{"iptables-legacy", "ip6tables-legacy"} {
		for _, verb := range []string{"", "-save", "-restore"} {
			path, err := exec.LookPath(of + verb)
			if err != nil {
				t.Skip("needs iptables-legacy")
			}
			if err := os.Symlink(path, filepath.Join(dir, of+verb)); err != nil {
				t.Fatal(err)
			}
		}
	}
	b := tryOn(t, dir)
	b.resync(true, nil)
	if out := b.sh("cat /proc/net/ip_tables_names"); out != "" {
		t.Errorf("x_tables was loaded: %s", out)
	}
	poll := func(want bool) {
		t.Helper()
		if lost, err := b.Poll(t.Context()); lost != want || err != nil {
			t.Errorf("poll: %t, %v; want %t", lost, err, want)
		}
	}
	poll(false)
	b.sh("iptables-legacy -P FORWARD DROP; ip6tables-legacy -P FORWARD DROP")
	poll(true) // a table has come
	poll(false)
	b.resync(true, policies("br-0"))
	b.want("-legacy", append([]string{"-P FORWARD DROP"}, append(slices.Clone(skeleton[1:]), accepting("br-0")...)...)...)
}

func TestOddNamesStayOutOfCommands(t *testing.T) {
	b := tryOn(t, withLegacy(t))
	odd := []string{"b+", "-F", "a!b", "!x", `"q"`, "café"}
	if _, err := b.Resync(t.Context(), policies(append(odd, "br-0")...)); err != nil {
		t.Fatal(err)
	}
	b.want("-legacy", append(slices.Clone(skeleton), accepting("br-0")...)...)
	for _, name := range odd {
		if !strings.Contains(b.families[0].said, name) {
			t.Errorf("said %q, without %s", b.families[0].said, name)
		}
	}
	native := tryOn(t, withNFT(t))
	native.resync(true, policies(odd...)) // there, a name is a name
}

// TestPolicyOfAnother: somebody makes the chain FORWARD, to drop, after it was found missing. What he wants of it stays.
func TestPolicyOfAnother(t *testing.T) {
	b := tryOn(t, withNFT(t))
	missing := make([]seen, len(b.families))
	for i, f := range b.families {
		var err error
		if missing[i], err = f.native.read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.sh("iptables-nft -P FORWARD DROP && ip6tables-nft -P FORWARD DROP")
	for i, f := range b.families {
		wanted := repair{makeForward: true, makeUser: true, make: true, rejump: true, rewrite: true}
		if _, err := f.native.write(t.Context(), missing[i], wanted, []string{"br0"}); err != nil {
			t.Error(err)
		}
	}
	if got := b.rules("-nft"); !slices.Contains(got, "-P FORWARD DROP") || !slices.Contains(got, "-A FORWARD -j LINKSPAN-FORWARD") {
		t.Errorf("the rules are %q", got)
	}
}
