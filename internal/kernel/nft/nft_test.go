package nft

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
	"github.com/linkspan/linkspan/internal/model"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

// sampleRows uses every kind of policy row in both families.
func sampleRows() []desired.Row {
	return []desired.Row{
		desired.ForwardDrop{IPv4: true, IPv6: true},
		desired.AcceptMark{Mark: 7, Mask: 0xff},
		desired.Transparent{Bridge: "docker0"},
		desired.BridgePolicy{Bridge: "docker0", ICC: true},
		desired.BridgePolicy{Bridge: "br-quiet"},
		desired.BridgePolicy{Bridge: "br-inside", Internal: true, ICC: true},
		desired.Masquerade{Bridge: "docker0", Subnet: prefix("172.17.0.0/16")},
		desired.Masquerade{Bridge: "br-quiet", Subnet: prefix("172.18.0.0/16")}, // adjacent
		desired.Masquerade{Bridge: "docker0", Subnet: prefix("fd00:1::/64")},
		desired.Masquerade{Bridge: "br-as", Subnet: prefix("172.20.0.0/16"), Source: netip.MustParseAddr("192.0.2.7")},
		desired.Masquerade{Bridge: "br-as", Subnet: prefix("fd00:3::/64"), Source: netip.MustParseAddr("2001:db8::7")},
		desired.PortSecurity{Port: "veth0a", Bridge: "docker0", MAC: "02:42:ac:11:00:02", Addrs: addrs("172.17.0.2", "fd00:1::2")},
		desired.PortSecurity{Port: "veth0b", Bridge: "br-inside", MAC: "02:42:ac:13:00:02", Addrs: addrs("172.19.0.2")},
		desired.PortSecurity{Port: "veth0d", Bridge: "br-quiet", MAC: "02:42:ac:12:00:04", Addrs: addrs("172.18.0.4")},
		desired.PortSecurity{Port: "veth0e", Bridge: "docker0", MAC: "02:42:ac:11:00:05", Addrs: addrs("172.17.0.5", "fe80::42:acff:fe11:5"),
			Mode: desired.PortCapable, Subnets: []netip.Prefix{prefix("172.17.0.0/16"), prefix("fd00:1::/64")}},
		desired.PortSecurity{Port: "veth0f", Bridge: "docker0", MAC: "02:42:ac:11:00:06", Addrs: addrs("172.17.0.6"), Mode: desired.PortUnchecked},
		desired.Identity{Bridge: "docker0", MACs: []string{"02:42:ac:11:00:01"}, Addrs: addrs("172.17.0.1", "fe80::1")},
		desired.Identity{Bridge: "br-quiet", MACs: []string{"02:42:ac:12:00:01"}, Addrs: addrs("172.18.0.1", "fe80::1"), Gateways: addrs("fd00:2::1")},
		desired.Identity{MACs: []string{"02:00:00:00:ff:01"}, Addrs: addrs("192.0.2.1", "2001:db8::1")},
		desired.Allow{Bridge: "br-quiet", From: netip.MustParseAddr("172.18.0.5"), To: netip.MustParseAddr("172.18.0.4"), Protocol: model.TCP, First: 80, Last: 80},
		desired.Allow{Bridge: "br-quiet", From: netip.MustParseAddr("fd00:2::5"), To: netip.MustParseAddr("fd00:2::4"), Protocol: model.UDP, First: 5000, Last: 5009},
		publish(model.TCP, "0.0.0.0", 8080, 8080, "172.17.0.2", 80),
		publish(model.TCP, "::", 8080, 8080, "fd00:1::2", 80),
		publish(model.UDP, "192.0.2.1", 53, 53, "172.18.0.4", 5353),
		publish(model.SCTP, "2001:db8::1", 132, 132, "fd00:1::2", 132),
		publish(model.TCP, "127.0.0.1", 20000, 29999, "172.17.0.2", 20000),
		publish(model.TCP, "2001:db8::1", 20000, 29999, "fd00:1::2", 20000),
		publish(model.UDP, "0.0.0.0", 30000, 30100, "172.17.0.2", 30000),
		publish(model.UDP, "::", 30000, 30100, "fd00:1::2", 30000),
		publish(model.TCP, "0.0.0.0", 9000, 9002, "172.17.0.2", 80), // shifted
		desired.Elsewhere{Port: "veth0a", Addrs: addrs("172.18.0.9", "fd00:2::9")},
		desired.Served{Protocol: model.TCP, Host: netip.MustParseAddr("2001:db8::1"), First: 8081, Last: 8081},
		desired.Served{Protocol: model.UDP, Host: netip.IPv6Unspecified(), First: 40000, Last: 40009},
		desired.Direct{Bridge: "docker0", Addr: netip.MustParseAddr("172.17.0.9")},
		desired.Direct{Bridge: "docker0", Addr: netip.MustParseAddr("fd00:1::9")},
		desired.Direct{Bridge: "docker0", Addr: netip.MustParseAddr("172.17.0.8"), Protocol: model.TCP, First: 80, Last: 80},
		desired.Direct{Bridge: "docker0", Addr: netip.MustParseAddr("fd00:1::8"), Protocol: model.UDP, First: 7000, Last: 7009},
		desired.DirectICMP{Bridge: "docker0", Addr: netip.MustParseAddr("172.17.0.8")},
		desired.DirectICMP{Bridge: "docker0", Addr: netip.MustParseAddr("fd00:1::8")},
		fromTrusted("eth1", model.TCP, "172.17.0.7", 80, 80),
		fromTrusted("eth1", model.UDP, "172.17.0.7", 7000, 7009),
		fromTrusted("wg0", model.UDP, "172.17.0.7", 7000, 7009),
		fromTrusted("eth1", model.TCP, "fd00:1::7", 80, 80),
		fromTrusted("eth1", model.UDP, "fd00:1::7", 7000, 7009),
	}
}

// fromTrusted is a row of docker0.
func fromTrusted(interfaceName string, p model.Protocol, addr string, first, last uint16) desired.DirectFrom {
	return desired.DirectFrom{Interface: interfaceName, Direct: desired.Direct{
		Bridge: "docker0", Addr: netip.MustParseAddr(addr), Protocol: p, First: first, Last: last,
	}}
}

// publish is a row of docker0.
func publish(p model.Protocol, host string, first, last uint16, to string, toFirst uint16) desired.Publish {
	return desired.Publish{
		Protocol: p, Host: netip.MustParseAddr(host), First: first, Last: last,
		To: netip.MustParseAddr(to), ToFirst: toFirst, Bridge: "docker0",
	}
}

// ruleset is what nft lists, with the elements of each set on one line and in
// order: sets are hashes with a random seed.
func ruleset(n *namespaces.Namespace) string {
	return regexp.MustCompile(`elements = \{([^}]*)\}`).ReplaceAllStringFunc(n.NFT("list", "ruleset"), func(s string) string {
		inner := strings.TrimSuffix(strings.TrimPrefix(s, "elements = {"), "}")
		var elements []string
		for _, e := range strings.Split(inner, ",") {
			elements = append(elements, strings.TrimSpace(e))
		}
		slices.Sort(elements)
		return "elements = { " + strings.Join(elements, ", ") + " }"
	})
}

func TestRulesetReadsWell(t *testing.T) {
	n := namespaces.New(t)
	resync(t, newBackend(t, n), sampleRows()...)
	golden(t, "ruleset.nft", ruleset(n))
}

// TestShapesReadWell: what nft prints of the rules that only some settings bring.
// docs/firewall has its text of rules from here and from ruleset.nft.
func TestShapesReadWell(t *testing.T) {
	for file, of := range map[string]struct {
		options Options
		row     desired.Row
	}{
		"beside.nft":      {Options{Instance: "test", Beside: true, Off4: true, Off6: true}, desired.Transparent{Bridge: "docker0"}},
		"held.nft":        {Options{Held: "linkspan-hold-PID"}, desired.BridgePolicy{Bridge: "docker0"}},
		"held-beside.nft": {Options{Held: "linkspan-hold-PID", Beside: true}, desired.BridgePolicy{Bridge: "docker0", Direct6: true}},
	} {
		n := namespaces.New(t)
		of.options.NetNS = n.FD()
		b, err := New(of.options)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		resync(t, b, of.row)
		golden(t, file, ruleset(n))
	}
}

func TestRender(t *testing.T) {
	idx := indexOf(shape{instance: "test"}.tables())
	var b strings.Builder
	for _, row := range sampleRows() {
		elements, err := render(row)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, row)
		for _, e := range elements {
			fmt.Fprintf(&b, "\t%s\n", idx.text(e))
		}
	}
	golden(t, "render.txt", b.String())
}

func TestRenderRefuses(t *testing.T) {
	for _, row := range []desired.Row{
		desired.BridgePolicy{},
		desired.BridgePolicy{Bridge: "sixteen-bytes-ab"},
		desired.Masquerade{Bridge: "docker0"},
		desired.PortSecurity{Port: "veth0", MAC: "02:42", Addrs: addrs("10.0.0.1")},
		desired.PortSecurity{Port: "", MAC: "02:42:ac:11:00:02"},
		desired.PortSecurity{Port: "veth0", MAC: "02:42:ac:11:00:02", Addrs: make([]netip.Addr, 1)},
		desired.PortSecurity{Port: "veth0", Bridge: "br0", MAC: "02:42:ac:11:00:02", Mode: "loud"},
		desired.Identity{MACs: []string{"02:42"}},
		desired.Identity{Gateways: make([]netip.Addr, 1)},
		desired.Link{Name: "veth0"},
		desired.DirectICMP{Bridge: "docker0"},
		fromTrusted("", model.TCP, "172.17.0.7", 80, 80),
		fromTrusted("eth1", model.TCP, "172.17.0.7", 0, 0),
		fromTrusted("eth1", "icmp", "172.17.0.7", 80, 80),
		fromTrusted("eth1", model.TCP, "0.0.0.0", 80, 80),
	} {
		if got, err := render(row); err == nil {
			t.Errorf("%v: rendered as %v", row, got)
		}
	}
}

func TestSubnetsAtTheEdge(t *testing.T) {
	n := namespaces.New(t)
	b := newBackend(t, n)
	var rows []desired.Row
	for _, s := range []string{"0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"} {
		rows = append(rows, desired.Masquerade{Bridge: "br0", Subnet: prefix(s)})
	}
	apply(t, b, added(rows...)...)
	if r := resync(t, b, rows...); r.Writes != 0 {
		t.Errorf("resync after apply: %+v", r)
	}
	got := n.NFT("list", "set", "inet", "linkspan", "masq4")
	if !strings.Contains(got, "0.0.0.0/1, 128.0.0.0/1") {
		t.Errorf("masq4: %s", got)
	}
}

// TestSubnetReplaced replaces a subnet by one that overlaps it.
func TestSubnetReplaced(t *testing.T) {
	n := namespaces.New(t)
	b := newBackend(t, n)
	narrow := desired.Masquerade{Bridge: "br0", Subnet: prefix("10.0.0.0/24")}
	wide := desired.Masquerade{Bridge: "br0", Subnet: prefix("10.0.0.0/16")}
	apply(t, b, added(narrow)...)
	apply(t, b, append(added(wide), added(narrow)[0].Invert())...)
	if r := resync(t, b, wide); r.Writes != 0 {
		t.Errorf("resync: %+v", r)
	}
}

// TestResyncRepairs breaks the tables in many ways; each must be noticed, said
// and put right, by no more writes than needed, after which nothing is left to
// write.
func TestResyncRepairs(t *testing.T) {
	for _, c := range []struct {
		name, broken, said string
		writes             int // 0: whatever it takes
	}{
		{"ruleset flushed", "flush ruleset", "table inet linkspan: missing", 0},
		{"table gone", "delete table bridge linkspan", "table bridge linkspan: missing", 0},
		{"element gone", "delete element bridge linkspan pinned { veth0a }", "set pinned: veth0a: missing", 1},
		{"interval gone", "delete element inet linkspan masq4 { 172.18.0.0/16 }", "set masq4: 172.18.0.0 up to 172.19.0.0: missing", 1},
		{"element added", "add element bridge linkspan pin_ip4 { veth0a . 172.17.0.9 }", "set pin_ip4: veth0a . 172.17.0.9: left over", 1},
		{"interval added", "add element inet linkspan masq4 { 10.0.0.0/8 }", "set masq4: 10.0.0.0 up to 11.0.0.0: left over", 1},
		{"port gone", "delete element inet linkspan ports4_any { tcp . 8080 }", "set ports4_any: tcp . 8080 : 172.17.0.2 . 80: missing", 1},
		{"port leads elsewhere", "delete element inet linkspan ports4_any { tcp . 8080 }; add element inet linkspan ports4_any { tcp . 8080 : 172.17.0.9 . 80 }",
			"set ports4_any: tcp . 8080 : 172.17.0.9 . 80: left over", 2},
		{"range gone", "delete element inet linkspan ranges6 { tcp . 2001:db8::1 . 20000-29999 }", "tcp . 2001:db8::1 . 20000 to tcp . 2001:db8::1 . 29999 : fd00:1::2: missing", 1},
		{"port added", "add element inet linkspan open_any { ipv4 . tcp . 22 }", "set open_any: ipv4 . tcp . 22: left over", 1},
		{"rules gone", "flush chain inet linkspan forward", "chain forward: rule 1 (into a network from elsewhere", 21},
		{"rule inserted", "insert rule inet linkspan forward accept", "chain forward: rule 1", 21},
		{"rule appended", "add rule bridge linkspan output accept", "chain output: 1 rules that are not ours", 2},
		{"rule with a set of its own", "add rule bridge linkspan output iifname { a, b } accept", "chain output: 1 rules", 2},
		{"jump cut", "flush chain bridge linkspan prerouting", "chain prerouting: rule 1", 3},
		{"port chain emptied", "flush chain bridge linkspan port", "chain port: rule 1", 0},
		{"chain added", "add chain inet linkspan mine { type filter hook input priority 0; policy drop; }", "chain mine: not ours", 2},
		{"policy changed", "chain inet linkspan forward { policy drop; }", "chain forward: wrong hook, priority or policy", 0},
		{"set added", "add set inet linkspan mine { type mark; }", "set mine: not ours", 1},
		{"set of another type", "delete table bridge linkspan; add table bridge linkspan { comment \"linkspan:test\"; }; add set bridge linkspan pinned { type mark; }", "set pinned: of another type", 0},
		{"another instance", "delete table inet linkspan; add table inet linkspan { comment \"linkspan:other\"; }", `made by "linkspan:other"`, 0},
		{"foreign table", "add table inet other; add chain inet other c", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := namespaces.New(t)
			b := newBackend(t, n)
			resync(t, b, sampleRows()...)
			whole := ruleset(n)
			n.NFT(c.broken)
			broken := ruleset(n)
			if r, err := b.Check(t.Context(), sampleRows()); err != nil || r.Writes != 0 || (len(r.Drift) > 0) != (c.said != "") || ruleset(n) != broken {
				t.Fatalf("check: %+v, %v", r, err)
			}
			r := resync(t, b, sampleRows()...)
			if !strings.Contains(strings.Join(r.Drift, "\n"), c.said) {
				t.Errorf("drift %q does not say %q", r.Drift, c.said)
			}
			if c.writes != 0 && r.Writes != c.writes {
				t.Errorf("%d writes, want %d", r.Writes, c.writes)
			}
			if again := resync(t, b, sampleRows()...); again.Writes != 0 || again.Drift != nil {
				t.Errorf("second resync: %+v", again)
			}
			if c.said != "" && sections(ruleset(n)) != sections(whole) {
				t.Errorf("after repair:\n%s", ruleset(n))
			}
		})
	}
}

// sections sorts what a ruleset is made of: sets and chains made anew are
// listed last.
func sections(ruleset string) string {
	tables := strings.Split(ruleset, "\ntable ")
	for i, table := range tables {
		parts := strings.Split(strings.TrimPrefix(strings.TrimSuffix(strings.TrimSpace(table), "}"), "table "), "\n\n")
		for j := range parts {
			parts[j] = strings.TrimSpace(parts[j])
		}
		slices.Sort(parts)
		tables[i] = strings.Join(parts, "\n")
	}
	slices.Sort(tables)
	return strings.Join(tables, "\n")
}

func TestApplyWithoutTables(t *testing.T) {
	n := namespaces.New(t)
	b := newBackend(t, n)
	rows := sampleRows()
	apply(t, b, added(rows...)...)
	n.NFT("flush ruleset")
	one := desired.PortSecurity{Port: "veth0c", Bridge: "br-quiet", MAC: "02:42:ac:12:00:02", Addrs: addrs("172.18.0.2")}
	if err := b.Apply(t.Context(), added(one)); !errors.Is(err, ErrTableLost) {
		t.Fatalf("apply to a flushed ruleset: %v", err)
	}
	if got := n.NFT("list", "set", "bridge", "linkspan", "pin_ip4"); !strings.Contains(got, "172.18.0.2") {
		t.Errorf("the delta itself was not written: %s", got)
	}
	resync(t, b, append(rows, one)...)
	if r := resync(t, b, append(rows, one)...); r.Writes != 0 {
		t.Errorf("second resync: %+v", r)
	}
}

func TestApplyDeletesWhatIsGone(t *testing.T) {
	n := namespaces.New(t)
	b := newBackend(t, n)
	rows := sampleRows()
	apply(t, b, added(rows...)...)
	n.NFT("delete element bridge linkspan pinned { veth0a }; delete element inet linkspan masq6 { fd00:1::/64 }")
	var deltas []desired.Delta
	for _, d := range added(rows...) {
		deltas = append(deltas, d.Invert())
	}
	apply(t, b, deltas...)
	if r := resync(t, b); r.Writes != 0 {
		t.Errorf("resync: %+v", r)
	}
}

func TestApplyNamesTheRowAtFault(t *testing.T) {
	n := namespaces.New(t)
	b := newBackend(t, n)
	apply(t, b, added(desired.Masquerade{Bridge: "br0", Subnet: prefix("10.0.0.0/8")})...)
	good := desired.BridgePolicy{Bridge: "br1"}
	overlapping := desired.Masquerade{Bridge: "br1", Subnet: prefix("10.1.0.0/16")}
	err := b.Apply(t.Context(), added(good, overlapping))
	failures := desired.Failures(err)
	if len(failures) == 0 || failures[0].Key != overlapping.Key() || failures[0].Owner != "test/masquerade 10.1.0.0/16" {
		t.Fatalf("got %v", err)
	}
	if r := resync(t, b, desired.Masquerade{Bridge: "br0", Subnet: prefix("10.0.0.0/8")}); r.Writes != 0 {
		t.Errorf("the refused transaction left something: %+v", r)
	}
	malformed := desired.PortSecurity{Port: "veth9", MAC: "?"}
	if failures := desired.Failures(b.Apply(t.Context(), added(malformed))); len(failures) != 1 || failures[0].Key != malformed.Key() {
		t.Errorf("malformed row: %v", failures)
	}
}

func TestApplyInManyChunks(t *testing.T) {
	n := namespaces.New(t)
	b := newBackend(t, n)
	rows := manyPins(3000)
	apply(t, b, added(rows...)...)
	if r := resync(t, b, rows...); r.Writes != 0 {
		t.Errorf("resync: %d writes, %q", r.Writes, r.Drift)
	}
	n.NFT("flush ruleset")
	if r := resync(t, b, rows...); r.Writes < 4*3000 || len(r.Drift) > 100 {
		t.Errorf("resync of all: %d writes, %d lines of drift", r.Writes, len(r.Drift))
	}
	if r := resync(t, b, rows...); r.Writes != 0 {
		t.Errorf("second resync: %d writes", r.Writes)
	}
}

func manyPins(count int) []desired.Row {
	var rows []desired.Row
	for i := range count {
		rows = append(rows, desired.PortSecurity{
			Port: fmt.Sprintf("veth%07x", i), Bridge: "docker0", MAC: fmt.Sprintf("02:42:00:%02x:%02x:%02x", i>>16, i>>8&255, i&255),
			Addrs: []netip.Addr{
				netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}),
				netip.AddrFrom16([16]byte{0: 0xfd, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}),
			},
		})
	}
	return rows
}

// TestPathIndependence walks at random through sets of rows; wherever the walk
// is, a resync must find the kernel as if it had been written at once.
func TestPathIndependence(t *testing.T) {
	n := namespaces.New(t)
	b := newBackend(t, n)
	rng := rand.New(rand.NewPCG(1, 2))
	now := map[desired.Key]desired.Row{}
	for step := range 200 {
		var deltas []desired.Delta
		for range 1 + rng.IntN(4) {
			row := randomRow(rng)
			key := row.Key()
			if slices.ContainsFunc(deltas, func(d desired.Delta) bool { return d.Key() == key }) {
				continue
			}
			d := desired.Delta{Owner: "test/walk", Old: now[key], New: row}
			if d.Old != nil && rng.IntN(2) == 0 {
				d.New = nil
			}
			if now[key] = d.New; d.New == nil {
				delete(now, key)
			}
			deltas = append(deltas, d)
		}
		apply(t, b, deltas...)
		rows := slices.Collect(maps.Values(now))
		if r := resync(t, b, rows...); r.Writes != 0 {
			t.Fatalf("step %d: after %v: %+v", step, deltas, r)
		}
	}
}

func randomRow(rng *rand.Rand) desired.Row {
	i := rng.IntN(3)
	bridge := fmt.Sprintf("br%d", i)
	switch rng.IntN(7) {
	case 6:
		return desired.Identity{Bridge: bridge, MACs: []string{fmt.Sprintf("02:42:00:00:00:%02x", rng.IntN(3))}, Addrs: addrs("fe80::1", fmt.Sprintf("10.%d.0.1", i))}
	case 5:
		return randomPublish(rng)
	case 0:
		return desired.BridgePolicy{Bridge: bridge, Internal: rng.IntN(2) == 0, ICC: rng.IntN(2) == 0}
	case 1:
		return desired.Masquerade{Bridge: bridge, Subnet: prefix(fmt.Sprintf("10.%d.0.0/16", i))}
	case 2:
		return desired.ForwardDrop{IPv4: rng.IntN(2) == 0, IPv6: rng.IntN(2) == 0}
	}
	port := rng.IntN(4)
	return desired.PortSecurity{
		Port: fmt.Sprintf("veth%d", port), Bridge: bridge, MAC: fmt.Sprintf("02:42:00:00:00:%02x", rng.IntN(3)),
		Addrs:   addrs(fmt.Sprintf("10.%d.0.%d", i, rng.IntN(3)+2), fmt.Sprintf("fd00::%d", rng.IntN(3)+2)),
		Mode:    []desired.PortMode{desired.PortPinned, desired.PortCapable, desired.PortUnchecked}[rng.IntN(3)],
		Subnets: []netip.Prefix{prefix(fmt.Sprintf("10.%d.0.0/16", i)), prefix("fd00::/64")},
	}
}

// randomPublish goes to one of three ports or ranges that do not overlap.
func randomPublish(rng *rand.Rand) desired.Publish {
	i := uint16(rng.IntN(3))
	host, to := "192.0.2.1", fmt.Sprintf("10.0.0.%d", 2+rng.IntN(2))
	if rng.IntN(2) == 0 {
		host, to = "::", fmt.Sprintf("fd00::%d", 2+rng.IntN(2))
	}
	first := 1000 * (1 + i)
	return publish(model.TCP, host, first, first+uint16(rng.IntN(3)), to, []uint16{first, 80}[rng.IntN(2)])
}
