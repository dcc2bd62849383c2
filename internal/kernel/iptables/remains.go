package iptables

import (
	"context"
	"errors"
	"log/slog"
	"regexp"

	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
	"github.com/linkspan/linkspan/internal/model"
)

// Remains are what an iptables backend, ours or that of a dockerd that is gone, has left
// on this host.
type Remains struct {
	Logger *slog.Logger
	// Enter calls a function in the network namespace that they are in; nil just calls it.
	Enter func(func() error) error
	// Off4 and Off6 are families in which no rule of ours is wanted: they are cleaned.
	Off4, Off6 bool
}

// Clean removes them, of both variants, for a host whose firewall is not made with
// iptables any more: chains, and what leads to them. DOCKER-USER stays, and so does what
// the nftables backend has in filter FORWARD. Without iptables there is nothing to do.
func (m Remains) Clean(ctx context.Context) error {
	return m.each(ctx, func(t *tool, seen ruleset.Ruleset) error {
		s := leavings(t.family, seen, true)
		if s.empty() {
			return nil
		}
		m.Logger.Info("removed what an iptables backend had left", "op", "firewall.adopt", "command", commandName(t.family), "variant", t.Variant, "rules", s.len())
		return t.write(ctx, s)
	})
}

// Neutralise removes, for a host whose firewall is made with that variant of iptables,
// the rules that a dockerd left outside of the chains that are taken over from it, and all
// of a family that is off. What there is of the other variant is said.
func (m Remains) Neutralise(ctx context.Context, variant xtables.Variant) error {
	return m.each(ctx, func(t *tool, seen ruleset.Ruleset) error {
		off := t.family == four && m.Off4 || t.family == six && m.Off6
		if t.Variant != variant && !off {
			if s := leavings(t.family, seen, true); !s.empty() {
				m.Logger.Warn("rules of ours or of Docker are left in the other variant of iptables, where nobody looks after them",
					"op", "firewall.adopt", "command", commandName(t.family)+t.Variant.Infix(), "rules", s.len())
			}
			return nil
		}
		s := leavings(t.family, seen, off)
		if s.empty() {
			return nil
		}
		m.Logger.Info("removed rules that were left", "op", "firewall.adopt", "command", commandName(t.family), "rules", s.len())
		return t.write(ctx, s)
	})
}

// each visits the rules of both variants and families, where there can be any.
func (m Remains) each(ctx context.Context, visit func(*tool, ruleset.Ruleset) error) error {
	commands := xtables.New(xtables.Options{Enter: m.Enter})
	var failed []error
	for _, family := range families() {
		for _, v := range xtables.Variants() {
			t, err := toolOf(ctx, commands, family, v)
			// To ask iptables-legacy has the kernel make its tables.
			if errors.Is(err, xtables.ErrNoCommand) || v == xtables.Legacy && !m.hasLegacy(family) {
				continue
			}
			var seen ruleset.Ruleset
			if err == nil {
				seen, err = t.read(ctx)
			}
			if err == nil {
				err = visit(t, seen)
			}
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (m Remains) hasLegacy(family int) (has bool) {
	look := func() error {
		has = len(xtables.LegacyTables(model.Family(family))) > 0
		return nil
	}
	if m.Enter == nil {
		return look() == nil && has
	}
	return m.Enter(look) == nil && has
}

// leavings are the commands that remove what is left: all of it, or only what stands in
// the kernel's own chains in Docker's form.
func leavings(family int, seen ruleset.Ruleset, all bool) script {
	s := script{}
	r := &repair{family: family, script: s, stand: standing{}}
	for _, table := range seen.Tables {
		for _, c := range table.Chains {
			for _, l := range c.Rules {
				if isBase(c.Name) && (isDockers(table.Name, c.Name, l.Rule) || all && isOurs(l.Rule) && !kept(table.Name, l.Rule.Target)) {
					t := s.table(table.Name)
					t.remove = append(t.remove, command{"-D " + c.Name + " " + l.Rule.String(), noDelta})
				}
			}
		}
		if all {
			var stay []string
			if table.Name == tableFilter {
				stay = []string{nftForward}
			}
			r.strays(table.Name, table, stay)
		}
	}
	return s
}

// nftForward is the chain of the filter table that the nftables backend has.
const nftForward = "LINKSPAN-FORWARD"

func kept(table, chain string) bool { return table == tableFilter && chain == nftForward }

// isDockers tells whether a rule has the form of those that dockerd, of this version or
// another, puts into the kernel's own chains without a mark: about one of its bridges, or
// from a container to itself.
func isDockers(table, chain string, r ruleset.Rule) bool {
	bridge := func(w ruleset.Word) bool {
		return regexp.MustCompile(`^(docker0|br-[0-9a-f]{12})$`).MatchString(w.Text)
	}
	if r.Comment() != "" {
		return false
	}
	switch table + " " + chain {
	case "nat POSTROUTING":
		itself := r.Source.Prefix.IsValid() && r.Source == r.Destination && r.Source.Prefix.IsSingleIP() && r.Protocol.Text != ""
		return r.Target == "MASQUERADE" && (itself || r.Source.Prefix.IsValid() && r.Out.Not && bridge(r.Out)) ||
			r.Target == "SNAT" && r.Source.Prefix.IsValid() && r.Out.Not && bridge(r.Out)
	case "raw PREROUTING":
		local := r.Destination.Prefix.IsValid() && r.Destination.Prefix.Addr().IsLoopback() && r.In == ruleset.Word{Not: true, Text: "lo"} && r.Protocol.Text != ""
		return r.Target == "DROP" && (local || r.Destination.Prefix.IsValid() && r.In.Not && bridge(r.In))
	case "filter FORWARD":
		return r.Target == "ACCEPT" && (bridge(r.In) && !r.In.Not && bridge(r.Out) || bridge(r.Out) && r.In.Text == "" && len(r.Matches) == 1)
	}
	return false
}
