// Package ruleset reads what iptables-save(8) writes, of any program's rules, and gives
// every rule one canonical form, so that rules can be compared whoever printed them.
//
// It understands the form, not the meaning: which matches and targets there are is for
// whoever looks at them. What it reads may come from anybody, so lines, words and the
// whole have bounds.
package ruleset

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds of what is read. A ruleset beyond them is refused as a whole.
const (
	maxLine  = 64 << 10
	maxWords = 2048    // of one line
	maxRules = 1 << 20 // of one ruleset
)

// ErrTooLarge is what Parse returns, wrapped, for what is beyond the bounds.
var ErrTooLarge = errors.New("the ruleset is too large")

// Ruleset is the tables of one family.
type Ruleset struct {
	Tables []*Table
}

// Table is one table: "filter", "nat", "mangle", "raw", "security".
type Table struct {
	Name   string
	Chains []*Chain
}

// Chain is a chain with its rules, in order. Policy is "ACCEPT" or "DROP" for a base
// chain, empty for one of a user.
type Chain struct {
	Name           string
	Policy         string
	Rules          []Line
	Packets, Bytes uint64 // that met the policy; 0 if they were not shown
}

// Line is a rule as it stands in a chain.
type Line struct {
	Rule           Rule
	Packets, Bytes uint64 // 0 if they were not shown
}

// Table returns the table of that name, nil if it is not there.
func (r Ruleset) Table(name string) *Table {
	for _, t := range r.Tables {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Chain returns the chain of that name, nil if there is none or t is nil.
func (t *Table) Chain(name string) *Chain {
	if t == nil {
		return nil
	}
	for _, c := range t.Chains {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Parse reads the output of iptables-save or ip6tables-save, with counters or without.
// Its errors name the line.
func Parse(in io.Reader) (Ruleset, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	p := parser{}
	for n := 1; lines.Scan(); n++ {
		if err := p.line(lines.Text()); err != nil {
			return Ruleset{}, fmt.Errorf("line %d: %w", n, err)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return Ruleset{}, fmt.Errorf("a line of more than %d bytes: %w", maxLine, ErrTooLarge)
	case err != nil:
		return Ruleset{}, fmt.Errorf("read the ruleset: %w", err)
	}
	return p.out, nil
}

type parser struct {
	out    Ruleset
	table  *Table
	chains map[string]*Chain // of table
	rules  int
}

func (p *parser) line(s string) error {
	s = strings.TrimSpace(s)
	switch {
	case s == "" || s[0] == '#':
		return nil
	case s == "COMMIT":
		p.table = nil
		return nil
	case s[0] == '*':
		p.table = &Table{Name: s[1:]}
		p.out.Tables = append(p.out.Tables, p.table)
		p.chains = map[string]*Chain{}
		return nil
	case p.table == nil:
		return fmt.Errorf("%.40q is in no table", s)
	case s[0] == ':':
		return p.chain(s[1:])
	}
	return p.rule(s)
}

// chain reads "FORWARD ACCEPT [0:0]".
func (p *parser) chain(s string) error {
	words := strings.Fields(s)
	if len(words) < 2 || p.chains[words[0]] != nil {
		return fmt.Errorf("no chain, or one of a name that is taken: %.40q", s)
	}
	c := &Chain{Name: words[0]}
	if words[1] != "-" {
		c.Policy = words[1]
	}
	if len(words) > 2 {
		var err error
		if c.Packets, c.Bytes, err = counters(words[2]); err != nil {
			return err
		}
	}
	return p.add(c)
}

func (p *parser) add(c *Chain) error {
	if p.rules++; p.rules > maxRules {
		return fmt.Errorf("more than %d rules: %w", maxRules, ErrTooLarge)
	}
	p.chains[c.Name] = c
	p.table.Chains = append(p.table.Chains, c)
	return nil
}

// rule reads "[0:0] -A FORWARD ...".
func (p *parser) rule(s string) error {
	if p.rules++; p.rules > maxRules {
		return fmt.Errorf("more than %d rules: %w", maxRules, ErrTooLarge)
	}
	words, err := split(s)
	if err != nil {
		return err
	}
	var l Line
	if len(words) > 0 && strings.HasPrefix(words[0].text, "[") {
		if l.Packets, l.Bytes, err = counters(words[0].text); err != nil {
			return err
		}
		words = words[1:]
	}
	if len(words) < 2 || words[0].text != "-A" {
		return fmt.Errorf("not a rule: %.40q", s)
	}
	c := p.chains[words[1].text]
	if c == nil {
		return fmt.Errorf("there is no chain %.40q", words[1].text)
	}
	if l.Rule, err = parseWords(words[2:]); err != nil {
		return err
	}
	c.Rules = append(c.Rules, l)
	return nil
}

// counters reads "[12:3456]".
func counters(s string) (packets, bytes uint64, err error) {
	a, b, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), ":")
	if ok {
		if packets, err = strconv.ParseUint(a, 10, 64); err == nil {
			bytes, err = strconv.ParseUint(b, 10, 64)
		}
	}
	if !ok || err != nil {
		return 0, 0, fmt.Errorf("no counters: %.40q", s)
	}
	return packets, bytes, nil
}
