package iptables

import (
	"context"
	"errors"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
	"github.com/linkspan/linkspan/internal/model"
)

// Saved reads all rules of both families by the command of a variant, for those who only
// look at them. A family that has no such command has no rules. It fails if what the command
// prints cannot be read.
func Saved(ctx context.Context, v xtables.Variant) (ipv4, ipv6 ruleset.Ruleset, err error) {
	commands := xtables.New(xtables.Options{})
	read := func(family int) (ruleset.Ruleset, error) {
		t, err := toolOf(ctx, commands, family, v)
		if errors.Is(err, xtables.ErrNoCommand) {
			return ruleset.Ruleset{}, nil
		}
		if err != nil {
			return ruleset.Ruleset{}, err
		}
		return t.read(ctx)
	}
	ipv4, err4 := read(four)
	ipv6, err6 := read(six)
	return ipv4, ipv6, errors.Join(err4, err6)
}

// HasLegacy tells whether the current network namespace has tables of iptables-legacy.
func HasLegacy() bool {
	return len(xtables.LegacyTables(model.IPv4))+len(xtables.LegacyTables(model.IPv6)) > 0
}

// Place is where a rule stands.
type Place struct {
	Table, Chain string
	Rule         string // as ruleset.Rule prints it
}

// Places returns where the rules stand that a policy row comes to. A row that cannot be
// rendered has none.
func Places(row desired.Row) (out []Place) {
	entries, err := render(row)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		out = append(out, Place{e.table, e.chain, e.rule})
	}
	return out
}
