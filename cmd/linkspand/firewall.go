package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/linkspan/linkspan/internal/config"
	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/firewall"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/hostfilter"
	"github.com/linkspan/linkspan/internal/kernel/nft"
)

// openFirewall returns what writes the firewall's rules; something that writes none
// where the user wants none of either family.
func (d *daemon) openFirewall(instance string) (kernel.Firewall, error) {
	s := firewallSettings(d.config)
	backend, err := nft.New(nft.Options{Instance: instance, Logger: d.log, Off4: s.Off4, Off6: s.Off6})
	if err != nil {
		return nil, fmt.Errorf("open the firewall: %w", err)
	}
	d.later(func(context.Context) error { return backend.Close() })
	warnOfGaps(s, d.log)
	if s.Off4 && s.Off6 {
		return kernel.Unmanaged{Clear: backend.Clear}, nil
	}
	whole := hostfilter.New(backend, hostfilter.Options{IPv4: !s.Off4, IPv6: !s.Off6, Logger: d.log})
	d.later(func(context.Context) error { return whole.Close() })
	return whole, nil
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
