package iptables

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
	"github.com/linkspan/linkspan/internal/model"
)

// tool is the commands of one family and variant.
type tool struct {
	*xtables.Tool
	family int
}

// toolOf finds them; those of the variant that iptables is on this host if v is empty.
func toolOf(ctx context.Context, c *xtables.Commands, family int, v xtables.Variant) (*tool, error) {
	t, err := c.Tool(ctx, model.Family(family), v)
	return &tool{t, family}, err
}

func commandName(family int) string { return xtables.Program(model.Family(family)) }

// read returns the rules of the family, with their counters.
func (t *tool) read(ctx context.Context, args ...string) (ruleset.Ruleset, error) {
	out, err := t.Save(ctx, append([]string{"-c"}, args...)...)
	if err != nil {
		return ruleset.Ruleset{}, fmt.Errorf("read the rules: %w", err)
	}
	rules, err := ruleset.Parse(strings.NewReader(out))
	if err != nil {
		return ruleset.Ruleset{}, fmt.Errorf("read the rules of %s: %w", commandName(t.family)+t.Variant.Infix(), err)
	}
	return rules, nil
}

// refusal is an iptables-restore that failed.
type refusal struct {
	delta int    // whose line it was, noDelta if that is not known
	line  string // empty if it is not known
	text  string // what the command said
}

func (r *refusal) Error() string {
	if r.line == "" {
		return r.text
	}
	return fmt.Sprintf("%s: %s", r.line, r.text)
}

// write runs a script. A *refusal is an error of the rules themselves.
func (t *tool) write(ctx context.Context, s script) error {
	input, deltas := s.text()
	err := t.Restore(ctx, input)
	var failed *xtables.Failure
	if !errors.As(err, &failed) {
		return err
	}
	r := &refusal{delta: noDelta, text: failed.Text}
	if n := lineOf(failed.Text); n > 0 && n <= len(deltas) {
		r.delta, r.line = deltas[n-1], strings.Split(input, "\n")[n-1]
	}
	return r
}

// lineOf finds the number of a line in what iptables-restore says of it: "line 5 failed",
// "Error occurred at line: 5", "line 5: RULE_DELETE failed".
func lineOf(text string) int {
	m := regexp.MustCompile(`line:? (\d{1,9})`).FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}
