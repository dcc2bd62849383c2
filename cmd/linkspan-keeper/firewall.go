package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/guard"
	"github.com/linkspan/linkspan/internal/kernel/hostfilter"
	"github.com/linkspan/linkspan/internal/kernel/iptables"
	"github.com/linkspan/linkspan/internal/kernel/nft"
)

// iptablesBackend is the word of --firewall-backend for it; the other is nftables.
const iptablesBackend = "iptables"

// openFirewall returns what opens a firewall as the daemon does.
func openFirewall(log *slog.Logger) func(context.Context, guard.Settings) (kernel.Firewall, func() error, error) {
	return func(ctx context.Context, s guard.Settings) (kernel.Firewall, func() error, error) {
		withIPTables := s.Backend == iptablesBackend
		tables, err := nft.New(nft.Options{Instance: s.Instance, Logger: log, Off4: s.Off4, Off6: s.Off6, Beside: withIPTables})
		if err != nil {
			return nil, nil, fmt.Errorf("open the firewall: %w", err)
		}
		if !withIPTables {
			whole := hostfilter.New(tables, hostfilter.Options{IPv4: !s.Off4, IPv6: !s.Off6, Logger: log, Placed: true})
			return whole, func() error { return errors.Join(whole.Close(), tables.Close()) }, nil
		}
		o := iptables.Options{Logger: log, Beside: tables, Off4: s.Off4, Off6: s.Off6}
		if tables.Supported(ctx) != nil {
			o.Beside = nil
		}
		rules, err := iptables.New(ctx, o)
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("open the firewall: %w", err), tables.Close())
		}
		return rules, func() error { return errors.Join(shut(rules), tables.Close()) }, nil
	}
}

// openHold opens what holds for such a firewall while others have taken its tables away. The
// name is another for each keeper: one takes over from another while both are there.
func openHold(log *slog.Logger) func(guard.Settings) (kernel.Firewall, func() error, error) {
	return func(s guard.Settings) (kernel.Firewall, func() error, error) {
		b, err := nft.New(nft.Options{
			Held: fmt.Sprintf("%s%d", nft.HeldPrefix, os.Getpid()), Beside: s.Backend == iptablesBackend, Off4: s.Off4, Off6: s.Off6, Logger: log,
		})
		if err != nil {
			return nil, nil, err
		}
		return b, b.Close, nil
	}
}

// shut closes what has something to close.
func shut(firewall any) error {
	if c, ok := firewall.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// guardian is the guard as the server sees it.
type guardian struct{ *guard.Guard }

// Configure implements serve.Guard.
func (g guardian) Configure(f wire.Firewall) { g.Guard.Configure(guard.Settings(f)) }

// releaseFirewall adds what the next keeper needs to look after the firewall. One that
// does not know it does not.
func (e *estate) releaseFirewall(i *wire.Inventory) {
	kept, settings, ok := e.firewall.Release()
	if !ok {
		return
	}
	f := wire.Firewall(settings)
	i.Firewall = &f
	for _, o := range kept {
		if row, ok := wire.PackRow(o.Owner, o.Row); ok {
			i.Policies = append(i.Policies, row)
		}
	}
}

// adoptFirewall looks after the firewall from now on. With a policy that this release
// does not know it would restore something else than was wanted, so it waits for a
// daemon then.
func (e *estate) adoptFirewall(i wire.Inventory) {
	if i.Firewall == nil {
		return
	}
	var all []desired.Owned
	for _, row := range i.Policies {
		owned, err := row.Unpack()
		if err != nil {
			e.log.Warn("the firewall is looked after only once a daemon is there", "op", "keeper.adopt", "err", err)
			return
		}
		all = append(all, owned)
	}
	e.firewall.Adopt(all, guard.Settings(*i.Firewall))
}
