package hostfilter

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
	"github.com/linkspan/linkspan/internal/model"
)

// legacy is a filter table of x_tables, which only the commands of iptables-legacy
// can change. It is made so from scratch each time.
type legacy struct {
	model.Family
	name  string // "iptables-legacy"
	enter func(func() error) error
	tool  atomic.Pointer[xtables.Tool] // nil if it is not in use

	// known says that the table was there at the last look.
	known atomic.Bool

	// want are the bridges that somebody waits to make it so for; nil if nobody does.
	want atomic.Pointer[[]string]

	mu     sync.Mutex    // commands take turns
	placed bool          // the jumps were first once
	seen   xtables.Shape // of the table, when it was as it should be
}

func (l *legacy) active() bool { return l.tool.Load() != nil }

// catchUp makes it so for the bridges that are wanted when its turn has come.
func (l *legacy) catchUp(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	want := l.want.Swap(nil)
	if want == nil {
		return nil // done meanwhile
	}
	_, err := l.ensureLocked(ctx, *want, false)
	return err
}

// ensure implements side.
func (l *legacy) ensure(ctx context.Context, bridges []string, dry bool) (desired.Report, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !dry {
		l.want.Store(nil) // what was wanted before
	}
	return l.ensureLocked(ctx, bridges, dry)
}

func (l *legacy) ensureLocked(ctx context.Context, bridges []string, dry bool) (desired.Report, error) {
	tool := l.tool.Load()
	if tool == nil {
		return desired.Report{}, nil
	}
	bridges, odd := writable(bridges)
	text, err := tool.Save(ctx, "-t", filterTable)
	if err != nil {
		return desired.Report{}, err
	}
	have := parse(text)
	r := compare(l.name+" filter", have, bridges, !l.placed)
	report := desired.Report{Drift: r.drift, Torn: r.torn}
	if !dry && len(r.drift) > 0 {
		lines := script(have, r, bridges)
		if err := tool.Restore(ctx, lines); err != nil {
			return report, err
		}
		report.Writes = strings.Count(lines, "\n") - 2 // without *filter and COMMIT
	}
	if !dry {
		l.placed = true
		if l.seen, err = l.shape(); err != nil {
			return report, err
		}
	}
	if len(odd) > 0 {
		return report, fmt.Errorf("%s cannot be told of interfaces with such names: %s", l.name, strings.Join(odd, " "))
	}
	return report, nil
}

// plainName are the names of interfaces that mean themselves to iptables-restore: a
// + at the end makes a prefix of one, and a dash at its start an option.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_.@-]*$`)

func writable(bridges []string) (plain, odd []string) {
	for _, bridge := range bridges {
		if plainName.MatchString(bridge) {
			plain = append(plain, bridge)
		} else {
			odd = append(odd, bridge)
		}
	}
	return plain, odd
}

// parse reads what iptables-save(8) prints of the table. In x_tables, FORWARD is
// always there.
func parse(text string) seen {
	s := seen{forward: true}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == ":"+UserChain:
			s.user = true
		case words[0] == ":"+OwnChain:
			s.own = true
		case len(words) < 2 || words[0] != "-A":
		case words[1] == forwardChain:
			s.rules = append(s.rules, parseRule(words[2:]))
		case words[1] == OwnChain:
			s.accepts = append(s.accepts, parseRule(words[2:]))
		}
	}
	return s
}

// parseRule reads options of iptables(8), of which it knows few.
func parseRule(words []string) (r rule) {
	for option := range slices.Chunk(words, 2) {
		switch {
		case len(option) < 2:
			r.other = true
		case option[0] == "-i" && r.in == "":
			r.in = option[1]
		case option[0] == "-o" && r.out == "":
			r.out = option[1]
		case option[0] == "-j" && option[1] == "ACCEPT":
			r.accept = true
		case option[0] == "-j":
			r.jump = option[1]
		default:
			r.other = true
		}
	}
	return r
}

// Script is what iptables-restore(8) is told on a host that has nothing of it yet: the
// chains and rules, whichever way they are written.
func Script(bridges []string) string {
	none := seen{forward: true}
	return script(none, compare("", none, bridges, true), bridges)
}

// script is what iptables-restore(8) is told. It would flush a chain that is declared
// with a colon, so only the own one is.
func script(have seen, r repair, bridges []string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("*%s", filterTable)
	if r.make || r.rewrite {
		line(":%s - [0:0]", OwnChain)
	}
	if r.makeUser {
		line("-N %s", UserChain)
	}
	if r.rejump {
		for _, rule := range have.rules {
			if rule.jumpsTo(UserChain) || rule.jumpsTo(OwnChain) {
				line("-D %s -j %s", forwardChain, rule.jump)
			}
		}
		line("-I %s 1 -j %s", forwardChain, UserChain)
		line("-I %s 2 -j %s", forwardChain, OwnChain)
	}
	if r.rewrite {
		for _, bridge := range bridges {
			line("-A %s -i %s -j ACCEPT", OwnChain, bridge)
			line("-A %s -o %s -j ACCEPT", OwnChain, bridge)
		}
	}
	line("COMMIT")
	return b.String()
}
