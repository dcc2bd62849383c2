package iptables

import (
	"fmt"

	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
)

// The families, by the version of IP.
const (
	four = 4
	six  = 6
)

func families() []int { return []int{four, six} }

// The tables, in the order in which they are written. What drops comes before what lets
// in, and what lets in before what leads there, so that whatever of it is written,
// nothing is allowed that neither the state before nor the state after allows.
const (
	tableMangle = "mangle"
	tableRaw    = "raw"
	tableFilter = "filter"
	tableNAT    = "nat"
)

func tablesInOrder() []string { return []string{tableMangle, tableRaw, tableFilter, tableNAT} }

// Docker's chains, and what people who know them look for there.
const (
	chainUser     = "DOCKER-USER"     // the administrator's: created once, never changed
	chainForward  = "DOCKER-FORWARD"  // all of the others, in order
	chainAnswers  = "DOCKER-CT"       // answers to what was let through
	chainInternal = "DOCKER-INTERNAL" // internal networks
	chainBridge   = "DOCKER-BRIDGE"   // by the bridge that a packet goes out to
	chainDocker   = "DOCKER"          // filter: open ports, and the end of all others; nat: where host ports lead
)

// Ours, for what Docker's rules do not say. Those of mangle only drop and mark, and an
// accept of the administrator in DOCKER-USER does not overrule them.
const (
	chainMarks       = "LINKSPAN-FORWARD"     // mangle, FORWARD
	chainLeaving     = "LINKSPAN-LEAVING"     // mangle: out of a network
	chainEntering    = "LINKSPAN-ENTERING"    // mangle: into a network from elsewhere
	chainDNAT        = "LINKSPAN-DNAT"        // nat: host ports, as a network's own containers use them
	chainOutput      = "LINKSPAN-OUTPUT"      // nat, OUTPUT of IPv6
	chainPostrouting = "LINKSPAN-POSTROUTING" // nat, POSTROUTING
	chainHairpin     = "LINKSPAN-HAIRPIN"     // nat: containers that use a host port of their own network
	chainStays       = "LINKSPAN-STAYS"       // nat: what keeps its source
)

// ownComment marks rules of ours that stand among others' and jump to no chain of ours.
const ownComment = "linkspan"

// place is a chain of one family.
type place struct {
	family       int
	table, chain string
}

func (p place) String() string {
	name := "iptables"
	if p.family == six {
		name = "ip6tables"
	}
	return fmt.Sprintf("%s -t %s %s", name, p.table, p.chain)
}

// entry is one rule in its place, comparable. Rules of a lower class stand before those
// of a higher one; among those of one class the order does not matter.
type entry struct {
	place
	class int
	rule  string // in its canonical form
}

// Classes in the chains of the kernel, which are others' as well: first and second are
// kept where they are in FORWARD of the filter table, and are put in front elsewhere.
const (
	atFirst  = 0
	atSecond = 1
	atEnd    = 2
)

// Classes of the chains that have several.
const (
	markRule, internalRule, leavingRule, enteringRule = 0, 1, 2, 3 // chainMarks
	returnRule, answerRule, dropRule, astrayRule      = 0, 1, 2, 3 // chainLeaving
	forgedRule, knownRule, directRule                 = 0, 1, 2    // chainEntering
	openRule, closedRule                              = 0, 1       // chainDocker of filter
	oneAddress, anyAddress                            = 0, 1       // chainDocker of nat
	toCT, toInternal, toBridge, network               = 0, 1, 2, 3 // chainForward
	masqueradeRule, staysRule                         = 0, 1       // chainPostrouting; astrayRule comes last
	exceptRule, restRule                              = 0, 1       // chainOutput
)

// ownChains are the chains that are ours as a whole, by table. DOCKER-USER is not one.
func ownChains(family int) map[string][]string {
	nat := []string{chainDocker, chainDNAT, chainPostrouting, chainHairpin, chainStays}
	if family == six {
		nat = append(nat, chainOutput)
	}
	return map[string][]string{
		tableMangle: {chainMarks, chainLeaving, chainEntering},
		tableFilter: {chainForward, chainAnswers, chainInternal, chainBridge, chainDocker},
		tableNAT:    nat,
	}
}

// fixed are the rules that are there whatever is wanted.
func fixed(family int) []entry {
	w := writer{families: []int{family}}
	const established = "-m conntrack --ctstate ESTABLISHED,RELATED "
	w.add(tableMangle, "FORWARD", atFirst, "-j "+chainMarks)
	w.add(tableMangle, chainLeaving, answerRule, established+"-j RETURN")
	w.add(tableMangle, chainLeaving, dropRule, "-m conntrack --ctstate INVALID -j DROP")
	w.add(tableMangle, chainEntering, knownRule, established+"-j RETURN")
	w.add(tableMangle, chainEntering, knownRule, "-m conntrack --ctstate DNAT -j RETURN")

	w.add(tableFilter, "FORWARD", atFirst, "-j "+chainUser)
	w.add(tableFilter, "FORWARD", atSecond, "-j "+chainForward)
	w.add(tableFilter, chainForward, toCT, "-j "+chainAnswers)
	w.add(tableFilter, chainForward, toInternal, "-j "+chainInternal)
	w.add(tableFilter, chainForward, toBridge, "-j "+chainBridge)

	const here = "-m addrtype --dst-type LOCAL -j "
	w.add(tableNAT, "PREROUTING", atEnd, here+chainDocker)
	w.add(tableNAT, "PREROUTING", atEnd, here+chainDNAT)
	w.add(tableNAT, "POSTROUTING", atFirst, "-j "+chainPostrouting)
	w.add(tableNAT, chainPostrouting, masqueradeRule, "-m mark --mark "+hairpinMark+" -m conntrack --ctstate DNAT -j MASQUERADE")
	w.add(tableNAT, chainPostrouting, masqueradeRule, "-m conntrack --ctstate DNAT -j "+chainHairpin)
	w.add(tableNAT, chainPostrouting, staysRule, "-o lo -j "+chainStays)
	if family == four {
		fixed4(&w)
	} else {
		fixed6(&w)
	}
	if w.err != nil { // none of these words comes from outside
		panic(w.err)
	}
	return w.out
}

func fixed4(w *writer) {
	const mine = "-m comment --comment " + ownComment + " -j DROP"
	w.add(tableRaw, "PREROUTING", atFirst, "-s 127.0.0.0/8 ! -i lo "+mine)
	w.add(tableRaw, "PREROUTING", atFirst, "-d 127.0.0.0/8 ! -i lo "+mine)
	w.add(tableMangle, chainLeaving, dropRule, "-s 169.254.0.0/16 -j DROP")
	w.add(tableNAT, "OUTPUT", atEnd, "-m addrtype --dst-type LOCAL -j "+chainDocker)
}

// fixed6: neither ::1 nor link-local addresses are routed by the kernel. A forwarder in
// user space serves them.
func fixed6(w *writer) {
	w.add(tableMangle, chainLeaving, dropRule, "-p ipv6-icmp -m conntrack --ctstate UNTRACKED -j DROP")
	w.add(tableNAT, "OUTPUT", atEnd, "-m addrtype --dst-type LOCAL -j "+chainOutput)
	w.add(tableNAT, chainOutput, exceptRule, "-d ::1/128 -j RETURN")
	w.add(tableNAT, chainOutput, exceptRule, "-d fe80::/10 -j RETURN")
	w.add(tableNAT, chainOutput, restRule, "-j "+chainDocker)
}

// writer collects entries of some families.
type writer struct {
	families []int
	out      []entry
	err      error // the first that there was
}

func (w *writer) add(table, chain string, class int, rule string) {
	r, err := ruleset.ParseRule(rule)
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("%s: %w", rule, err)
	}
	text := r.String()
	for _, f := range w.families {
		w.out = append(w.out, entry{place{f, table, chain}, class, text})
	}
}
