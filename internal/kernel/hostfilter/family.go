package hostfilter

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// family is one address family of the host's filter.
type family struct {
	program string // "iptables" or "ip6tables"
	tools   *tools
	native  *native
	legacy  *legacy
	said    string // why it could not be made so, as logged; empty if it could
}

func familiesOf(o Options) (out []*family) {
	t := newTools(o)
	if o.IPv4 {
		out = append(out, newFamily("iptables", "ip", unix.NFPROTO_IPV4, t, o))
	}
	if o.IPv6 {
		out = append(out, newFamily("ip6tables", "ip6", unix.NFPROTO_IPV6, t, o))
	}
	return out
}

func newFamily(program, name string, number byte, t *tools, o Options) *family {
	return &family{
		program: program, tools: t,
		native: &native{name: name + " " + filterTable, family: number, netns: o.NetNS},
		legacy: &legacy{name: program + "-legacy", family: number, tools: t},
	}
}

// look finds out which iptables this host has. That may change while we run.
func (y *family) look(ctx context.Context) {
	path, kind := y.tools.find(ctx, y.program)
	y.native.wanted = kind == ofNFTables
	command := ""
	switch {
	case kind == ofXTables:
		command = path
	case y.tools.loaded(y.program): // somebody filters there, whatever iptables is now
		command = y.tools.lookPath(y.program + "-legacy")
	}
	y.legacy.command.Store(&command)
}

// seen is what was found of ours in a filter table.
type seen struct {
	forward   bool // there is a chain that forwarded packets go through
	user, own bool // the chains are there
	rules     []rule
	accepts   []rule // all of the own chain
}

// rule is as much of a rule as matters here.
type rule struct {
	handle  uint64 // of nf_tables
	in, out string // interfaces
	jump    string // the chain that it leads to
	accept  bool
	other   bool // it says more than that
}

// jumpsTo tells whether the rule leads everything to the chain.
func (r rule) jumpsTo(chain string) bool {
	return !r.other && r.in == "" && r.out == "" && r.jump == chain
}

// accepts tells whether the rule accepts what comes in, or goes out, by a bridge.
func accepts(bridge string) [2]rule {
	return [2]rule{{in: bridge, accept: true}, {out: bridge, accept: true}}
}

// repair is what has to be done.
type repair struct {
	drift                       []string
	makeForward, makeUser, make bool // chains that are missing
	rejump                      bool // both jumps are put first, in place of those that are there
	rewrite                     bool // the own chain gets its rules anew
}

// compare says what differs. Jumps are put first when first says so, which is when
// the engine starts; later, what somebody puts before them stays before them, as
// long as both are there.
func compare(name string, have seen, bridges []string, first bool) repair {
	var r repair
	missing := func(flag *bool, chain string) {
		*flag = true
		r.drift = append(r.drift, fmt.Sprintf("%s: chain %s: missing", name, chain))
	}
	if !have.forward {
		missing(&r.makeForward, forwardChain)
	}
	if !have.user {
		missing(&r.makeUser, UserChain)
	}
	if !have.own {
		missing(&r.make, OwnChain)
	}
	why := misplaced(have.rules, first)
	r.rejump = why != ""
	if r.rejump && have.user && have.own { // else it goes without saying
		r.drift = append(r.drift, fmt.Sprintf("%s: chain %s: %s", name, forwardChain, why))
	}
	if r.make {
		r.rewrite = len(bridges) > 0
		return r
	}
	if why := differs(have.accepts, bridges); why != "" {
		r.rewrite = true
		r.drift = append(r.drift, fmt.Sprintf("%s: chain %s: %s", name, OwnChain, why))
	}
	return r
}

// misplaced says what is wrong with the jumps among the rules of FORWARD.
func misplaced(rules []rule, first bool) string {
	user, own, more := -1, -1, false
	for i, r := range rules {
		switch {
		case r.jumpsTo(UserChain) && user < 0:
			user = i
		case r.jumpsTo(OwnChain):
			more = more || own >= 0
			own = i
		}
	}
	switch {
	case user < 0:
		return "jump to " + UserChain + ": missing"
	case own < 0:
		return "jump to " + OwnChain + ": missing"
	case own < user:
		return "jump to " + OwnChain + ": before that to " + UserChain
	case more:
		return "jump to " + OwnChain + ": there twice"
	case first && (user != 0 || own != 1):
		return "jumps to " + UserChain + " and " + OwnChain + ": not the first"
	}
	return ""
}

// differs says what is wrong with the rules of the own chain, whose order means
// nothing.
func differs(have []rule, bridges []string) string {
	there := map[rule]bool{}
	for _, r := range have {
		r.handle = 0
		if there[r] {
			return "rules that are not ours"
		}
		there[r] = true
	}
	for _, bridge := range bridges {
		for _, want := range accepts(bridge) {
			if !there[want] {
				return "rule for " + bridge + ": missing or changed"
			}
			delete(there, want)
		}
	}
	if len(there) > 0 {
		return "rules that are not ours"
	}
	return ""
}
