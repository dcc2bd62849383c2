package firewall_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables/expr"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft"
	"github.com/linkspan/linkspan/internal/kernel/nft/datatypes"
	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
)

// options are those of the nftables backend in a situation.
func options(s situation) nft.Options {
	return nft.Options{Instance: "test", Off4: s.off4, Off6: s.off6}
}

func model(t *testing.T, o nft.Options, rows []desired.Row) trace.Ruleset {
	t.Helper()
	m, err := nft.Model(o, rows)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tables are the nftables backend's in a situation; none where no family has rules.
func tables(t *testing.T, s situation, o nft.Options) []*trace.Table {
	t.Helper()
	if len(s.rows) == 0 || s.off4 && s.off6 {
		return nil
	}
	return model(t, o, s.rows).Tables
}

// texts are rules, and the headers of chains and sets, as nft(8) prints them: it did so in
// tests of the backend, whose golden files these are.
type texts struct {
	rules  map[string]string // by expressions
	chains map[string]string // hooks of base chains, by table and chain
	sets   map[string]string // types and flags of sets, by table and set
}

// heldName is that of the tables that the keeper holds.
const heldName = nft.HeldPrefix + "PID"

// goldenRulesets are those files, and what was rendered for them.
var goldenRulesets = map[string]struct {
	options nft.Options
	rows    []desired.Row
}{
	"ruleset.nft":     {nft.Options{Instance: "test"}, []desired.Row{desired.AcceptMark{Mark: 7, Mask: 0xff}, desired.Transparent{Bridge: "docker0"}}},
	"held.nft":        {nft.Options{Held: heldName}, []desired.Row{desired.BridgePolicy{Bridge: "docker0"}}},
	"held-beside.nft": {nft.Options{Held: heldName, Beside: true}, []desired.Row{desired.BridgePolicy{Bridge: "docker0"}}},
	"beside.nft":      {nft.Options{Instance: "test", Beside: true, Off4: true, Off6: true}, []desired.Row{desired.Transparent{Bridge: "docker0"}}},
}

func readTexts(t *testing.T) texts {
	t.Helper()
	out := texts{rules: map[string]string{}, chains: map[string]string{}, sets: map[string]string{}}
	for file, of := range goldenRulesets {
		path := "../../internal/kernel/nft/testdata/" + file
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		printed := parsed(string(raw))
		for _, table := range model(t, of.options, of.rows).Tables {
			for name := range table.Sets {
				out.sets[table.String()+" "+name] = strings.Join(printed[table.String()+" set "+name], "; ")
			}
			for _, c := range table.Chains {
				lines := printed[table.String()+" chain "+c.Name]
				if c.Base != nil && len(lines) > 0 {
					out.chains[table.String()+" "+c.Name], lines = lines[0], lines[1:]
				}
				if len(lines) != len(c.Rules) {
					t.Fatalf("%s: %s, chain %s: %d rules, the backend has %d: go test ./internal/kernel/nft -update, as root", path, table, c.Name, len(lines), len(c.Rules))
				}
				for i, r := range c.Rules {
					rule, found := strings.CutSuffix(lines[i], fmt.Sprintf(" comment %q", r.Comment))
					if !found {
						t.Fatalf("%s: %s, chain %s, rule %d is not about %q: go test ./internal/kernel/nft -update, as root", path, table, c.Name, i+1, r.Comment)
					}
					out.rules[identity(r)] = rule
				}
			}
		}
	}
	return out
}

// parsed is a listing by its blocks: "inet linkspan chain forward" and its lines, without
// comments of blocks and elements.
func parsed(listing string) map[string][]string {
	blocks := map[string][]string{}
	table, block := "", ""
	for line := range strings.Lines(listing) {
		line = strings.TrimSpace(line)
		switch words := strings.Fields(line); {
		case strings.HasPrefix(line, "table "):
			table, block = words[1]+" "+words[2], ""
		case strings.HasSuffix(line, "{"):
			if block = table + " " + words[0] + " " + words[1]; words[0] == "map" {
				block = table + " set " + words[1]
			}
			blocks[block] = []string{}
		case line == "}", line == "", strings.HasPrefix(line, "comment "), strings.HasPrefix(line, "elements "):
		default:
			blocks[block] = append(blocks[block], line)
		}
	}
	return blocks
}

// identity tells rules apart by what they do.
func identity(r trace.Rule) string {
	var b strings.Builder
	for _, e := range r.Exprs {
		raw, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "%T%s ", e, raw)
	}
	return b.String()
}

// text is a rule as nft prints it, below what it is for.
func (x texts) text(t *testing.T, table *trace.Table, r trace.Rule) string {
	t.Helper()
	s, ok := x.rules[identity(r)]
	if !ok {
		t.Errorf("%s: nft was not asked how it prints the rule %q: goldenRulesets", table, r.Comment)
	}
	return s
}

// nftDifference is the elements that a page adds and takes away, and the rules that look
// at them.
func (b *book) nftDifference(t *testing.T, p *page) string {
	t.Helper()
	now, before := tables(t, p.now, options(p.now)), tables(t, p.before, options(p.before))
	added, touched := elements("add", now, before)
	removed, alsoTouched := elements("delete", before, now)
	out := code("", added) + code("Elements that go:", removed)
	if len(touched) == 0 {
		touched = alsoTouched
	}
	fresh := func(in []*trace.Table) choice {
		return func(table *trace.Table, c *trace.Chain, r trace.Rule) bool { return !hasRule(in, table, c, r) }
	}
	out += code("The rules that look there, which are always the same:", b.chainsWith(t, now, func(table *trace.Table, c *trace.Chain, r trace.Rule) bool {
		looks := slices.ContainsFunc(setsOf(r), func(set string) bool { return touched[table.String()+" "+set] })
		return looks && (len(before) == 0 || !fresh(before)(table, c, r))
	}))
	if len(before) > 0 {
		out += code("Rules that are added:", b.chainsWith(t, now, fresh(before))) + code("Rules that go:", b.chainsWith(t, before, fresh(now)))
	}
	return out
}

// choice says which rules are shown.
type choice func(*trace.Table, *trace.Chain, trace.Rule) bool

// hasRule tells whether a rule is among those of a chain.
func hasRule(tables []*trace.Table, table *trace.Table, c *trace.Chain, r trace.Rule) bool {
	for _, t := range tables {
		if same := t.Chain(c.Name); t.String() == table.String() && same != nil {
			return slices.ContainsFunc(same.Rules, func(o trace.Rule) bool { return identity(o) == identity(r) })
		}
	}
	return false
}

// setsOf are the sets that a rule looks at.
func setsOf(r trace.Rule) (out []string) {
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Lookup:
			out = append(out, e.SetName)
		case *expr.Dynset:
			out = append(out, e.SetName)
		}
	}
	return out
}

// elements are those that now has and before has not, as commands of nft, and the sets
// that they are in.
func elements(verb string, now, before []*trace.Table) (string, map[string]bool) {
	var b strings.Builder
	touched := map[string]bool{}
	for _, table := range now {
		for _, name := range slices.Sorted(maps.Keys(table.Sets)) {
			var fresh []string
			for _, e := range table.Sets[name].Elements {
				if !has(before, table.String(), name, e) {
					fresh = append(fresh, elementText(table.Sets[name], e))
				}
			}
			if len(fresh) == 0 {
				continue
			}
			slices.Sort(fresh)
			touched[table.String()+" "+name] = true
			fmt.Fprintf(&b, "# %s\n%s element %s %s { %s }\n", table.Sets[name].Comment, verb, table, name, strings.Join(fresh, ", "))
		}
	}
	return b.String(), touched
}

func has(tables []*trace.Table, table, set string, e trace.Element) bool {
	for _, t := range tables {
		if t.String() == table && t.Sets[set] != nil {
			return slices.Contains(t.Sets[set].Elements, e)
		}
	}
	return false
}

// elementText is an element as nft prints it.
func elementText(s *trace.Set, e trace.Element) string {
	first := datatypes.Split(s.Types, e.Key)
	last := slices.Clone(first)
	switch {
	case e.Last != "":
		last = datatypes.Split(s.Types, e.Last)
	case s.Interval && len(s.Types) == 1:
		after, _ := netip.AddrFromSlice([]byte(e.After))
		last = []string{string(after.Prev().AsSlice())}
	}
	var words []string
	for i, typ := range s.Types {
		words = append(words, rangeText(typ, first[i], last[i]))
	}
	out := strings.Join(words, " . ")
	if e.Data != "" {
		out += " : " + datatypes.Text(s.DataTypes, e.Data)
	}
	return out
}

func rangeText(typ datatypes.Type, first, last string) string {
	switch text := typ.Text(first); {
	case typ == datatypes.Ifname:
		return fmt.Sprintf("%q", text)
	case first == last:
		return text
	case typ == datatypes.IPv4 || typ == datatypes.IPv6:
		from, _ := netip.AddrFromSlice([]byte(first))
		for bits := range from.BitLen() {
			if p := netip.PrefixFrom(from, bits); p.Masked().Addr() == from && string(lastOf(p).AsSlice()) == last {
				return p.String()
			}
		}
		fallthrough
	default:
		return text + "-" + typ.Text(last)
	}
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// chainsWith lists the chosen rules below the chains that they are in.
func (b *book) chainsWith(t *testing.T, tables []*trace.Table, chosen choice) string {
	t.Helper()
	var out strings.Builder
	for _, table := range tables {
		for _, c := range table.Chains {
			said := ""
			for _, r := range c.Rules {
				if !chosen(table, c, r) {
					continue
				}
				if said == "" {
					if out.Len() > 0 {
						out.WriteByte('\n')
					}
					fmt.Fprintf(&out, "chain %s %s", table, c.Name)
					if hook := b.nft.chains[table.String()+" "+c.Name]; hook != "" {
						fmt.Fprintf(&out, " { %s }", hook)
					}
					out.WriteByte('\n')
				}
				if r.Comment != said {
					said = r.Comment
					fmt.Fprintf(&out, "  # %s\n", said)
				}
				fmt.Fprintf(&out, "  %s\n", b.nft.text(t, table, r))
			}
		}
	}
	return out.String()
}

// nftChains is chains of a family's table as a whole.
func (b *book) nftChains(t *testing.T, p *page, o nft.Options, family, pattern string) string {
	t.Helper()
	names := regexp.MustCompile("^(" + pattern + ")$")
	return code("", b.chainsWith(t, tables(t, p.now, o), func(table *trace.Table, c *trace.Chain, _ trace.Rule) bool {
		return strings.HasPrefix(table.String(), family+" ") && names.MatchString(c.Name)
	}))
}

// nftRules is rules whose comment a pattern matches.
func (b *book) nftRules(t *testing.T, p *page, pattern string) string {
	t.Helper()
	about := regexp.MustCompile(pattern)
	return code("", b.chainsWith(t, tables(t, p.now, options(p.now)), func(_ *trace.Table, _ *trace.Chain, r trace.Rule) bool {
		return about.MatchString(r.Comment)
	}))
}

// nftSets is sets and maps with what their keys are.
func (b *book) nftSets(t *testing.T, p *page, family, pattern string) string {
	t.Helper()
	names := regexp.MustCompile("^(" + pattern + ")$")
	var out strings.Builder
	for _, table := range tables(t, p.now, options(p.now)) {
		for _, name := range slices.Sorted(maps.Keys(table.Sets)) {
			if strings.HasPrefix(table.String(), family+" ") && names.MatchString(name) {
				kind := "set"
				if len(table.Sets[name].DataTypes) > 0 {
					kind = "map"
				}
				fmt.Fprintf(&out, "# %s\n%s %s %s { %s }\n", table.Sets[name].Comment, kind, table, name, b.nft.sets[table.String()+" "+name])
			}
		}
	}
	return code("", out.String())
}

// besideDifference names the sets of nftables that a page's elements are in with the iptables
// backend.
func (b *book) besideDifference(t *testing.T, p *page) string {
	t.Helper()
	now, before := options(p.now), options(p.before)
	now.Beside, before.Beside = true, true
	here, there := tables(t, p.now, now), tables(t, p.before, before)
	_, added := elements("add", here, there)
	_, removed := elements("delete", there, here)
	maps.Copy(added, removed)
	var of = map[string][]string{}
	for _, set := range slices.Sorted(maps.Keys(added)) {
		i := strings.LastIndexByte(set, ' ')
		of[set[:i]] = append(of[set[:i]], "`"+set[i+1:]+"`")
	}
	var words []string
	for _, table := range slices.Sorted(maps.Keys(of)) {
		words = append(words, strings.Join(of[table], ", ")+" of `"+table+"`")
	}
	if len(words) == 0 {
		return ""
	}
	return "In nftables, [beside it](beside-iptables.md), the elements of " + strings.Join(words, " and ") + " are as above.\n"
}
