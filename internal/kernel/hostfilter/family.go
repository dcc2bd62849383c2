package hostfilter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/xtables"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	// commandTime bounds one command; iptables-restore itself waits 10 seconds for its
	// lock.
	commandTime = 15 * time.Second
	// maxOutput bounds what is read of a command, in bytes.
	maxOutput = 16 << 20
)

// family is one address family of the host's filter.
type family struct {
	model.Family
	commands *xtables.Commands
	native   *native
	legacy   *legacy
	said     string // why it could not be made so, as logged; empty if it could
}

func familiesOf(o Options) (out []*family) {
	c := xtables.New(xtables.Options{Folders: o.Path, Enter: o.Enter, Timeout: commandTime, MaxOutput: maxOutput})
	if o.IPv4 {
		out = append(out, newFamily(model.IPv4, "ip", unix.NFPROTO_IPV4, c, o))
	}
	if o.IPv6 {
		out = append(out, newFamily(model.IPv6, "ip6", unix.NFPROTO_IPV6, c, o))
	}
	return out
}

func newFamily(f model.Family, name string, number byte, c *xtables.Commands, o Options) *family {
	enter := o.Enter
	if enter == nil {
		enter = func(f func() error) error { return f() }
	}
	return &family{
		Family: f, commands: c,
		native: &native{name: name + " " + filterTable, family: number, netns: o.NetNS, placed: o.Placed},
		legacy: &legacy{name: xtables.Program(f) + "-legacy", Family: f, enter: enter, placed: o.Placed},
	}
}

// look finds out which iptables this host has. That may change while we run.
func (y *family) look(ctx context.Context) error {
	variant, _ := y.commands.Variant(ctx, y.Family) // none is none
	y.native.wanted = variant == xtables.NFT
	var tool *xtables.Tool
	var err error
	// Somebody filters there, whatever iptables is now; its commands may be gone.
	loaded := y.legacy.loaded()
	y.legacy.known.Store(loaded)
	if variant == xtables.Legacy || loaded {
		tool, err = y.commands.Tool(ctx, y.Family, xtables.Legacy)
	}
	y.legacy.tool.Store(tool)
	if variant != xtables.Legacy && errors.Is(err, xtables.ErrNoCommand) {
		return nil
	}
	return err
}

// loaded tells whether x_tables has a filter table in this namespace.
func (l *legacy) loaded() (is bool) {
	err := l.enter(func() error {
		is = slices.Contains(xtables.LegacyTables(l.Family), filterTable)
		return nil
	})
	return err == nil && is
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
	torn                        bool // a chain or a jump was missing
}

// compare says what differs. Jumps are put first when first says so, which is when
// the engine starts; later, what somebody puts before them stays before them, as
// long as both are there.
func compare(name string, have seen, bridges []string, first bool) repair {
	var r repair
	missing := func(flag *bool, chain string) {
		*flag, r.torn = true, true
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
	r.rejump, r.torn = why != "", r.torn || strings.HasSuffix(why, ": missing")
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
