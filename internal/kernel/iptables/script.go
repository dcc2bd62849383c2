package iptables

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// script is the input of one iptables-restore. Each table is one transaction; they are
// written in the order of tablesInOrder.
type script map[string]*tableScript

// tableScript is the commands for one table, in the order in which they are given: a chain is
// made before it is jumped to, and what jumps to it goes before it does.
type tableScript struct {
	create, remove, insert, finish []command
}

// command is a line, and the delta that asked for it.
type command struct {
	text  string
	delta int
}

func (s script) table(name string) *tableScript {
	if s[name] == nil {
		s[name] = &tableScript{}
	}
	return s[name]
}

// len counts the commands.
func (s script) len() (n int) {
	for _, t := range s {
		n += len(t.create) + len(t.remove) + len(t.insert) + len(t.finish)
	}
	return n
}

// changes adds the changes of one family, and keeps count of what then stands where.
func (s script) changes(changes []change, stand standing) {
	slices.SortStableFunc(changes, func(a, b change) int { return cmp.Compare(a.entry.class, b.entry.class) })
	for _, c := range changes {
		if !c.add {
			t := s.table(c.entry.table)
			t.remove = append(t.remove, command{"-D " + c.entry.chain + " " + c.entry.rule, c.delta})
			stand.add(c.entry, -1)
		}
	}
	for _, c := range changes {
		if c.add {
			t := s.table(c.entry.table)
			t.insert = append(t.insert, command{insertion(c.entry, stand), c.delta})
			stand.add(c.entry, 1)
		}
	}
}

// insertion puts a rule behind all of lower classes, and before all others.
func insertion(e entry, stand standing) string {
	before, after := stand.around(e)
	switch {
	case isBase(e.chain) && e.class == atFirst:
		return "-I " + e.chain + " 1 " + e.rule
	case isBase(e.chain) && e.class == atSecond:
		return "-I " + e.chain + " 2 " + e.rule
	case isBase(e.chain) || after == 0:
		return "-A " + e.chain + " " + e.rule
	}
	return fmt.Sprintf("-I %s %d %s", e.chain, before+1, e.rule)
}

// isBase tells the kernel's own chains from those of users.
func isBase(chain string) bool { return slices.Contains(baseChains(), chain) }

func baseChains() []string {
	return []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
}

// text is the input, and the delta of each of its lines.
func (s script) text() (input string, deltas []int) {
	var b strings.Builder
	put := func(line string, delta int) {
		b.WriteString(line)
		b.WriteByte('\n')
		deltas = append(deltas, delta)
	}
	for _, name := range tablesInOrder() {
		t := s[name]
		if t == nil {
			continue
		}
		put("*"+name, noDelta)
		only := noDelta // the one delta that this table is written for
		for i, c := range slices.Concat(t.create, t.remove, t.insert, t.finish) {
			put(c.text, c.delta)
			if i == 0 {
				only = c.delta
			} else if c.delta != only {
				only = noDelta
			}
		}
		put("COMMIT", only) // where iptables-legacy says that a table is refused
	}
	return b.String(), deltas
}
