package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/linkspan/linkspan/internal/config"
	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/firewall"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/explain"
	"github.com/linkspan/linkspan/internal/kernel/hostfilter"
	"github.com/linkspan/linkspan/internal/kernel/iptables"
	"github.com/linkspan/linkspan/internal/kernel/nft"
	"github.com/linkspan/linkspan/internal/kernel/unmanaged"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
)

// openFirewall returns what writes the firewall's rules; something that writes none
// where the user wants none of either family.
func (d *daemon) openFirewall(ctx context.Context, instance string) (kernel.Firewall, error) {
	s := firewallSettings(d.config)
	withIPTables := d.config.Backend == config.BackendIPTables
	tables, err := nft.New(nft.Options{Instance: instance, Logger: d.log, Off4: s.Off4, Off6: s.Off6, Beside: withIPTables})
	if err != nil {
		return nil, fmt.Errorf("open the firewall: %w", err)
	}
	d.later(func(context.Context) error { return tables.Close() })
	d.later(clearRules(d, tables))
	warnOfGaps(s, d.log)
	d.clearFilter(ctx, s)
	d.otherFirewall = iptables.Remains{Logger: d.log}.Clean
	switch {
	case s.Off4 && s.Off6:
		return unmanaged.Firewall{Clear: tables.Clear}, nil
	case withIPTables:
		return d.openIPTables(ctx, s, tables)
	}
	whole := hostfilter.New(tables, hostfilter.Options{IPv4: !s.Off4, IPv6: !s.Off6, Logger: d.log})
	d.later(func(context.Context) error { return whole.Close() })
	return whole, nil
}

// clearFilter takes our chain out of the host's iptables tables of families that are to
// be left alone. It accepts at most what nothing drops any more, so a failure is only said.
func (d *daemon) clearFilter(ctx context.Context, s firewall.Settings) {
	filter := hostfilter.New(nil, hostfilter.Options{IPv4: s.Off4, IPv6: s.Off6, Logger: d.log})
	if _, err := filter.Clear(ctx); err != nil {
		d.log.Warn("a chain of ours is left in the host's filter", "op", "firewall.open", "chain", hostfilter.OwnChain, "err", err)
	}
	_ = filter.Close() // nothing is under way
}

// openIPTables opens the iptables backend. tables has what that cannot say.
func (d *daemon) openIPTables(ctx context.Context, s firewall.Settings, tables *nft.Backend) (kernel.Firewall, error) {
	o := iptables.Options{Logger: d.log, Beside: tables, Off4: s.Off4, Off6: s.Off6}
	if err := tables.Supported(ctx); err != nil {
		o.Beside = nil
		d.log.Warn("this kernel has no nf_tables: there is no port security, and containers of networks with icc=false reach one another", "op", "firewall.open", "err", err)
	}
	rules, err := iptables.New(ctx, o)
	if errors.Is(err, xtables.ErrNoCommand) {
		return nil, fmt.Errorf("firewall-backend is set to iptables: %w: install the package iptables, or set firewall-backend to nftables", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the firewall: %w", err)
	}
	d.later(func(context.Context) error { return rules.Close() })
	d.otherFirewall = func(ctx context.Context) error {
		return iptables.Remains{Logger: d.log, Off4: s.Off4, Off6: s.Off6}.Neutralise(ctx, rules.Variant())
	}
	d.variant = rules.Variant()
	return rules, nil
}

// savedRules reads the rules of iptables, for those who only look: those of our own backend,
// and of iptables-legacy, which nf_tables does not show, where there are any.
func (d *daemon) savedRules(ctx context.Context) (out explain.IPTables, err error) {
	if out.Variant = d.variant; out.Variant == "" && iptables.HasLegacy() {
		out.Variant = xtables.Legacy
	}
	if out.Variant == "" {
		return out, nil
	}
	out.IPv4, out.IPv6, err = iptables.Saved(ctx, out.Variant)
	return out, err
}

// dropOtherFirewall removes what the other backend, or a dockerd that is gone, has left:
// once our rules stand, so that nothing is open meanwhile. Our rules do not need it, so a
// failure is only said.
func (d *daemon) dropOtherFirewall(ctx context.Context) {
	removed, err := iptables.RemoveDockersTables(0)
	if len(removed) > 0 {
		d.log.Info("removed tables that a dockerd had left", "op", "firewall.adopt", "tables", removed)
	}
	if err := errors.Join(err, d.otherFirewall(ctx)); err != nil {
		d.log.Warn("rules of another firewall backend are left", "op", "firewall.adopt", "err", err)
	}
}

// firewallSettings returns what the flags say of the firewall as a whole.
func firewallSettings(c config.Config) firewall.Settings {
	s := firewall.Settings{DirectRouting: c.DirectRouting, Off4: !c.Firewall4, Off6: !c.Firewall6}
	if m := c.AcceptMark; m != nil {
		s.Accept = &desired.AcceptMark{Mark: m.Value, Mask: m.Mask}
	}
	return s
}

// warnOfGaps says what is open without rules.
func warnOfGaps(s firewall.Settings, log *slog.Logger) {
	var flags, families []string
	for _, f := range []struct {
		off        bool
		flag, name string
	}{{s.Off4, "--iptables=false", "IPv4"}, {s.Off6, "--ip6tables=false", "IPv6"}} {
		if f.off {
			flags, families = append(flags, f.flag), append(families, f.name)
		}
	}
	if len(flags) == 0 {
		return
	}
	text := fmt.Sprintf("%s: no rule is written for %s. Containers' ports are open, published or not, to other networks and to everybody who routes here; "+
		"containers' addresses are not translated, so that answers from outside do not find back by themselves; "+
		"published ports are served in user space (TCP and UDP), where containers see the host as the client",
		strings.Join(flags, " "), strings.Join(families, " and "))
	if s.Off4 && s.Off6 {
		text += "; containers may use each other's MAC and IP addresses, and icc=false keeps nobody apart"
	}
	log.Warn(text+". Internal networks stay closed", "op", "firewall.open")
}
