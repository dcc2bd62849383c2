package survey

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
)

// chains adds the base chains of others at the hooks where they decide about packets of
// ours, the firewalls that are known by their tables, and chains that a dockerd has left.
func chains(ctx context.Context, h *evidence.Host) error {
	if !h.Root {
		return nil
	}
	rules, err := trace.Read(ctx, 0)
	if err != nil {
		return err
	}
	hooks := map[uint32]string{unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_LOCAL_IN: "input", unix.NF_INET_FORWARD: "forward", unix.NF_INET_LOCAL_OUT: "output", unix.NF_INET_POST_ROUTING: "postrouting"}
	found := map[string]bool{}
	for _, t := range rules.Tables {
		ip := t.Family == unix.NFPROTO_IPV4 || t.Family == unix.NFPROTO_IPV6 || t.Family == unix.NFPROTO_INET || t.Family == unix.NFPROTO_BRIDGE
		if !ip || strings.HasPrefix(t.Name, "linkspan") {
			continue
		}
		found["firewalld"] = found["firewalld"] || t.Name == "firewalld"
		for _, c := range t.Chains {
			found["ufw"] = found["ufw"] || strings.HasPrefix(c.Name, "ufw-")
			if c.Base == nil || c.Base.Type == "nat" {
				continue
			}
			h.Chains = append(h.Chains, evidence.Chain{
				Table: t.String(), Name: c.Name, Hook: hooks[c.Base.Hook], Drops: c.Base.Drop, Rules: len(c.Rules), Accepts: acceptsOurs(t, c),
			})
		}
	}
	for _, name := range []string{"firewalld", "ufw"} {
		if found[name] {
			h.Firewalls = append(h.Firewalls, name)
		}
	}
	return nil
}

// acceptsOurs tells whether a chain has our jump to what accepts packets of our networks.
func acceptsOurs(t *trace.Table, c *trace.Chain) bool {
	return slices.ContainsFunc(c.Rules, func(r trace.Rule) bool { return strings.Contains(t.Text(&r), "LINKSPAN-FORWARD") })
}
