package ruleset

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Rule is one rule without its chain. The zero value matches every packet and does
// nothing.
type Rule struct {
	Source, Destination Address
	In, Out             Word // interfaces
	Protocol            Word // by its name in protocols(5) where that is usual
	Matches             []Match
	Target              string // chain or built-in target; empty for a rule that only counts
	Goto                bool   // -g: what comes back goes on with the chain before
	TargetOptions       []Option
}

// Address is a match on an address: none if Prefix is not valid.
type Address struct {
	Not    bool
	Prefix netip.Prefix
}

// Word is a match on a word: none if Text is empty.
type Word struct {
	Not  bool
	Text string
}

// Match is an extension and what it is asked.
type Match struct {
	Module  string
	Options []Option
}

// Option is "[!] --name values…" of a match or target.
type Option struct {
	Not    bool
	Name   string // without its dashes
	Values []string
}

// Option returns the option of that name.
func (m Match) Option(name string) (Option, bool) {
	for _, o := range m.Options {
		if o.Name == name {
			return o, true
		}
	}
	return Option{}, false
}

// Value returns the only value of an option of the target, empty if it has none.
func (r Rule) Value(option string) string {
	for _, o := range r.TargetOptions {
		if o.Name == option && len(o.Values) == 1 {
			return o.Values[0]
		}
	}
	return ""
}

// Comment returns the text of -m comment.
func (r Rule) Comment() string {
	for _, m := range r.Matches {
		if o, ok := m.Option("comment"); m.Module == "comment" && ok && len(o.Values) == 1 {
			return o.Values[0]
		}
	}
	return ""
}

// ParseRule reads the words behind "-A CHAIN".
func ParseRule(s string) (Rule, error) {
	words, err := split(s)
	if err != nil {
		return Rule{}, err
	}
	return parseWords(words)
}

func parseWords(words []word) (Rule, error) {
	b := builder{}
	for len(words) > 0 {
		rest, err := b.next(words)
		if err != nil {
			return Rule{}, err
		}
		words = rest
	}
	if b.not {
		return Rule{}, fmt.Errorf(`"!" before nothing`)
	}
	return b.rule.canonical(), nil
}

// builder takes a rule up word by word.
type builder struct {
	rule Rule
	not  bool // "!" came before
}

// next takes up one option, and returns the words behind it.
func (b *builder) next(words []word) ([]word, error) {
	w := words[0]
	if w.text == "!" && !w.quoted {
		if b.not {
			return nil, fmt.Errorf(`"!" twice`)
		}
		b.not = true
		return words[1:], nil
	}
	if w.quoted || !strings.HasPrefix(w.text, "-") {
		return nil, fmt.Errorf("%.40q belongs to no option", w.text)
	}
	not := b.not
	b.not = false
	if name, long := strings.CutPrefix(w.text, "--"); long && !known(name) {
		values, rest := valuesOf(words[1:], name)
		b.option(Option{Not: not, Name: alias(name), Values: values})
		return rest, nil
	}
	if w.text == "-f" || w.text == "--fragment" {
		b.rule.Matches = append(b.rule.Matches, Match{"fragment", []Option{{Not: not, Name: "fragment"}}})
		return words[1:], nil
	}
	if len(words) < 2 {
		return nil, fmt.Errorf("nothing behind %.40q", w.text)
	}
	return words[2:], b.basic(w.text, not, words[1].text)
}

// basic takes up an option that every rule may have.
func (b *builder) basic(name string, not bool, value string) (err error) {
	r := &b.rule
	switch name {
	case "-s", "--source", "--src":
		r.Source, err = address(not, value)
	case "-d", "--destination", "--dst":
		r.Destination, err = address(not, value)
	case "-i", "--in-interface":
		r.In = Word{not, value}
	case "-o", "--out-interface":
		r.Out = Word{not, value}
	case "-p", "--protocol", "--proto":
		r.Protocol = Word{not, protocol(value)}
	case "-m", "--match":
		r.Matches = append(r.Matches, Match{Module: value})
	case "-j", "--jump":
		r.Target = value
	case "-g", "--goto":
		r.Target, r.Goto = value, true
	default:
		return fmt.Errorf("unknown option %.40q", name)
	}
	if not && (name == "-m" || name == "-j" || name == "-g") {
		return fmt.Errorf(`"!" before %s`, name)
	}
	return err
}

func known(long string) bool {
	return slices.Contains([]string{
		"source", "src", "destination", "dst", "in-interface", "out-interface", "protocol", "proto", "match", "jump", "goto", "fragment",
	}, long)
}

// option gives an option to the target or the match that came last; to the protocol's
// own match if there was none.
func (b *builder) option(o Option) {
	r := &b.rule
	switch {
	case r.Target != "":
		r.TargetOptions = append(r.TargetOptions, o)
	case len(r.Matches) == 0:
		r.Matches = append(r.Matches, Match{r.Protocol.Text, []Option{o}})
	default:
		last := &r.Matches[len(r.Matches)-1]
		last.Options = append(last.Options, o)
	}
}

// valuesOf are the words up to the next option. A comment is one word, whatever it
// begins with.
func valuesOf(words []word, option string) (values []string, rest []word) {
	for len(words) > 0 {
		w := words[0]
		first := len(values) == 0 && (option == "comment" || strings.HasSuffix(option, "-prefix"))
		if !w.quoted && !first && (w.text == "!" || strings.HasPrefix(w.text, "-")) {
			break
		}
		values, words = append(values, w.text), words[1:]
	}
	return values, words
}

func alias(option string) string {
	switch option {
	case "destination-port":
		return "dport"
	case "source-port":
		return "sport"
	}
	return option
}

// address reads an address with or without a length or mask.
func address(not bool, s string) (Address, error) {
	host, bits, found := strings.Cut(s, "/")
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" {
		return Address{}, fmt.Errorf("no address: %.60q", s)
	}
	n := a.BitLen()
	if found {
		if n, err = strconv.Atoi(bits); err != nil {
			n = maskBits(bits)
		}
	}
	p, err := a.Prefix(n)
	if err != nil {
		return Address{}, fmt.Errorf("no address: %.60q", s)
	}
	if p.Bits() == 0 && !not {
		return Address{}, nil // every address
	}
	return Address{not, p}, nil
}

// maskBits is the length of a mask, -1 if it is none.
func maskBits(s string) int {
	m, err := netip.ParseAddr(s)
	if err != nil {
		return -1
	}
	ones, ended := 0, false
	for _, b := range m.AsSlice() {
		for i := 7; i >= 0; i-- {
			switch set := b>>i&1 == 1; {
			case set && ended:
				return -1
			case set:
				ones++
			default:
				ended = true
			}
		}
	}
	return ones
}

// protocol is the usual name of one.
func protocol(s string) string {
	switch s = strings.ToLower(s); s {
	case "1":
		return "icmp"
	case "6":
		return "tcp"
	case "17":
		return "udp"
	case "58", "icmpv6":
		return "ipv6-icmp"
	case "132":
		return "sctp"
	case "0", "all":
		return ""
	}
	return s
}

// canonical leaves out what says nothing, and sorts what has no order.
func (r Rule) canonical() Rule {
	if r.Protocol.Text == "" {
		r.Protocol = Word{}
	}
	r.Matches = slices.DeleteFunc(r.Matches, func(m Match) bool { return len(m.Options) == 0 && m.Module == r.Protocol.Text })
	for i, m := range r.Matches {
		for j, o := range m.Options {
			r.Matches[i].Options[j].Values = canonicalValues(m.Module, o)
		}
		slices.SortStableFunc(m.Options, byName)
	}
	slices.SortStableFunc(r.Matches, func(a, b Match) int {
		return cmp.Or(r.rank(a)-r.rank(b), cmp.Compare(a.Module, b.Module), cmp.Compare(a.text(), b.text()))
	})
	for i, o := range r.TargetOptions {
		if o.Name == "set-mark" && len(o.Values) == 1 {
			o = Option{Name: "set-xmark", Values: []string{o.Values[0] + "/0xffffffff"}}
		}
		o.Values = canonicalValues(r.Target, o)
		r.TargetOptions[i] = o
	}
	slices.SortStableFunc(r.TargetOptions, byName)
	return r
}

// rank has the match of the protocol itself stand first, behind it.
func (r Rule) rank(m Match) int {
	if m.Module == r.Protocol.Text {
		return 0
	}
	return 1
}

func byName(a, b Option) int { return cmp.Compare(a.Name, b.Name) }

func canonicalValues(of string, o Option) []string {
	if len(o.Values) != 1 {
		return o.Values
	}
	v := o.Values[0]
	switch {
	case (of == "conntrack" && (o.Name == "ctstate" || o.Name == "ctstatus")) || of == "state" && o.Name == "state":
		list := strings.Split(v, ",")
		slices.Sort(list)
		v = strings.Join(list, ",")
	case (of == "mark" || of == "connmark") && o.Name == "mark", o.Name == "set-xmark":
		v = mark(v)
	case of == "conntrack" && (o.Name == "ctorigdst" || o.Name == "ctorigsrc" || o.Name == "ctrepldst" || o.Name == "ctreplsrc"):
		if a, err := address(true, v); err == nil {
			v = bare(a.Prefix)
		}
	}
	return []string{v}
}

// mark writes "0x8000000/0x8000000"; a mask of all ones says nothing.
func mark(s string) string {
	value, mask, found := strings.Cut(s, "/")
	v, err := strconv.ParseUint(value, 0, 32)
	if err != nil {
		return s
	}
	m := uint64(0xffffffff)
	if found {
		if m, err = strconv.ParseUint(mask, 0, 32); err != nil {
			return s
		}
	}
	if m == 0xffffffff {
		return fmt.Sprintf("%#x", v)
	}
	return fmt.Sprintf("%#x/%#x", v, m)
}

// bare is a prefix without a length that says nothing.
func bare(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
