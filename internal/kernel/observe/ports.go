package observe

import (
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/sysctl"
	"github.com/linkspan/linkspan/internal/model"
)

// Settings learns whether the host forwards, and from where host ports may be given out
// (kernel: ip-sysctl, ip_local_port_range and ip_local_reserved_ports; both hold for IPv6 too).
func Settings(tree *sysctl.Tree, h *facts.Host) {
	h.ForwardingOff4 = off(tree, "net/ipv4/ip_forward")
	h.ForwardingOff6 = off(tree, "net/ipv6/conf/all/forwarding")
	if text, err := tree.Get("net/ipv4/ip_local_port_range"); err == nil {
		h.LocalPorts, _ = parsePorts(strings.Join(strings.Fields(text), "-"))
	}
	if text, err := tree.Get("net/ipv4/ip_local_reserved_ports"); err == nil {
		for _, part := range strings.Split(text, ",") {
			if r, ok := parsePorts(part); ok {
				h.ReservedPorts = append(h.ReservedPorts, r)
			}
		}
	}
	_, err := tree.Get("net/ipv6/conf/all/disable_ipv6")
	h.NoIPv6 = err != nil
}

// off tells whether a sysctl exists and is 0.
func off(tree *sysctl.Tree, path string) bool {
	value, err := tree.Get(path)
	return err == nil && value == "0"
}

// parsePorts reads "8080" or "8000-8010".
func parsePorts(text string) (model.PortRange, bool) {
	first, last, isRange := strings.Cut(strings.TrimSpace(text), "-")
	if !isRange {
		last = first
	}
	low, err1 := strconv.ParseUint(first, 10, 16)
	high, err2 := strconv.ParseUint(last, 10, 16)
	ok := err1 == nil && err2 == nil && low > 0 && low <= high
	if !ok {
		return model.PortRange{}, false
	}
	return model.PortRange{First: uint16(low), Last: uint16(high)}, true
}
