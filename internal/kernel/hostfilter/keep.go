package hostfilter

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/linkspan/linkspan/internal/kernel/xtables"
)

// KeepUserRules remembers the rules in DOCKER-USER, for when we are the reason that
// another program flushes the host's filter. What is returned writes them again where
// none are left of them; the jump to them is the Firewall's to bring back. It runs
// commands, and does nothing on a host without.
func KeepUserRules(ctx context.Context, o Options) (restore func(context.Context) error, err error) {
	var kept []userRules
	var failed []error
	for _, y := range familiesOf(o) {
		tool, err := y.commands.Tool(ctx, y.Family, "")
		if errors.Is(err, xtables.ErrNoCommand) {
			continue
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		u := userRules{tool: tool}
		u.lines, err = u.read(ctx)
		failed = append(failed, err)
		if len(u.lines) > 0 {
			kept = append(kept, u)
		}
	}
	restore = func(ctx context.Context) error {
		var failed []error
		for _, u := range kept {
			failed = append(failed, u.write(ctx))
		}
		return errors.Join(failed...)
	}
	return restore, errors.Join(failed...)
}

// userRules are the rules in DOCKER-USER of one family, as iptables-save(8) prints them.
type userRules struct {
	tool  *xtables.Tool
	lines []string
}

func (u userRules) read(ctx context.Context) (lines []string, err error) {
	text, err := u.tool.Save(ctx, "-t", filterTable)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "-A "+UserChain+" ") {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

func (u userRules) write(ctx context.Context) error {
	now, err := u.read(ctx)
	if err != nil || len(now) > 0 {
		return err
	}
	chain := ":" + UserChain + " - [0:0]\n" // made, or flushed where it is empty
	input := "*" + filterTable + "\n" + chain + strings.Join(u.lines, "") + "COMMIT\n"
	if err := u.tool.Restore(ctx, input); err != nil {
		return fmt.Errorf("bring back %d rules of %s: %w", len(u.lines), UserChain, err)
	}
	return nil
}
