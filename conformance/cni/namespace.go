package cni

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
)

// namespaces is where ip(8) keeps those that have a name.
const namespaces = "/run/netns/"

// link is an interface in a namespace.
type link struct {
	IfName, Address string
	MTU             int
	Flags           []string
	AddrInfo        []struct {
		Local     string
		PrefixLen int
	} `json:"addr_info"`
}

func ip(ctx context.Context, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return out, nil
}

// links are the interfaces of a namespace by their names, lo excepted.
func links(ctx context.Context, namespace string) (map[string]link, error) {
	raw, err := ip(ctx, "-n", namespace, "-json", "address", "show")
	if err != nil {
		return nil, err
	}
	var all []link
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("ip -json: %w", err)
	}
	out := map[string]link{}
	for _, l := range all {
		if l.IfName != "lo" && l.IfName != "" {
			out[l.IfName] = l
		}
	}
	return out, nil
}

// routes are those of a namespace's main table: destination and gateway, "10.0.0.0/8 via
// 10.1.0.1".
func routes(ctx context.Context, namespace string) (map[string]bool, error) {
	out := map[string]bool{}
	for family, all := range map[string]string{"-4": "0.0.0.0/0", "-6": "::/0"} {
		raw, err := ip(ctx, "-n", namespace, family, "-json", "route", "show")
		if err != nil {
			return nil, err
		}
		var list []struct{ Dst, Gateway string }
		if len(strings.TrimSpace(string(raw))) > 0 {
			if err := json.Unmarshal(raw, &list); err != nil {
				return nil, fmt.Errorf("ip -json: %w", err)
			}
		}
		for _, r := range list {
			if r.Dst == "default" {
				r.Dst = all
			}
			if a, err := netip.ParseAddr(r.Dst); err == nil {
				r.Dst = netip.PrefixFrom(a, a.BitLen()).String()
			}
			out[r.Dst] = true
			out[r.Dst+" via "+r.Gateway] = true
		}
	}
	return out, nil
}
