// Package explain follows a packet through the live rules of the host, as nf_tables has
// them, hook by hook and in the order of priorities: our tables, and those of everybody
// else, iptables-nft included. It is a packet tracer; where one packet goes is worked out
// from what the kernel says of rules, routes, addresses and links at this moment.
//
//	packet ──▶ walk: bridge hooks, hooks of IP, routing ──▶ facts.Trace: the steps, and the outcome
//	             └── kernel/nft/trace, kernel/iptables/trace: one chain
//
// It changes nothing and sends nothing. Rules that it does not understand are said to be in
// doubt, and so is the outcome then. It knows bridges of ours as the policy rows tell it;
// what lies beyond another host's interface it does not know.
package explain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
)

// Options are where an Explainer looks.
type Options struct {
	NetNS int // descriptor of the network namespace; 0 is the current one. Settings are read of the current one
	// IPTables reads rules by the commands of iptables; nil, or an answer of no variant:
	// there are none but those that nf_tables shows.
	IPTables func(context.Context) (IPTables, error)
}

// IPTables is rules as iptables-save and ip6tables-save print them.
type IPTables struct {
	Variant    xtables.Variant // of iptables-nft, they stand for the tables that it has in nf_tables
	IPv4, IPv6 ruleset.Ruleset
}

// Explainer answers for one network namespace. Its methods may be called concurrently.
type Explainer struct{ o Options }

// New returns an explainer. It opens nothing before it is asked.
func New(o Options) *Explainer { return &Explainer{o} }

// Explain returns the way of a packet, by the rules as they are now. rows are the policy
// rows that the firewall was given: they say which bridges, ports and elements are ours.
func (x *Explainer) Explain(ctx context.Context, p facts.TracePacket, rows []desired.Row) (facts.Trace, error) {
	rules, err := trace.Read(ctx, x.o.NetNS)
	if err != nil {
		return facts.Trace{}, fmt.Errorf("explain: %w", err)
	}
	h, err := x.open()
	if err != nil {
		return facts.Trace{}, fmt.Errorf("explain: %w", err)
	}
	defer h.Close()
	host, err := look(h)
	if err != nil {
		return facts.Trace{}, fmt.Errorf("explain: read links and addresses: %w", err)
	}
	var saved IPTables
	if x.o.IPTables != nil {
		if saved, err = x.o.IPTables(ctx); err != nil {
			return facts.Trace{}, fmt.Errorf("explain: %w", err)
		}
	}
	w := walk{rules: rules, iptables: saved, host: host, known: newKnown(rows), bridgeNetfilter: bridgeNetfilter(), out: facts.Trace{Packet: p}}
	if err := w.run(p); err != nil {
		return facts.Trace{}, fmt.Errorf("explain: %w", err)
	}
	return w.out, nil
}

// bridgeNetfilter reads whether br_netfilter is on for IPv4 and IPv6; it is off where the
// module is not there.
func bridgeNetfilter() (on [2]bool) {
	for i, name := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		value, err := os.ReadFile("/proc/sys/net/bridge/" + name)
		on[i] = err == nil && strings.TrimSpace(string(value)) == "1"
	}
	return on
}

func (x *Explainer) open() (*netlink.Handle, error) {
	if x.o.NetNS == 0 {
		return netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	return netlink.NewHandleAt(netns.NsHandle(x.o.NetNS), unix.NETLINK_ROUTE)
}

// errFamilies is for a packet between addresses of different families.
var errFamilies = errors.New("the sender's address and the destination's are of different families")
