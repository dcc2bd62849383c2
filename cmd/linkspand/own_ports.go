package main

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/config"
)

// ownPorts returns the TCP ports at which the daemon is to listen. A host without an
// address stands for all of both families. One that is a name is left out: whether
// its port is in use is seen when it is wanted.
func ownPorts(c config.Config) []netip.AddrPort {
	var out []netip.AddrPort
	for _, host := range append(slices.Clone(c.Hosts), "tcp://"+c.MetricsAddr) {
		address, tcp := strings.CutPrefix(host, "tcp://")
		if !tcp {
			continue
		}
		if at, err := netip.ParseAddrPort(address); err == nil {
			out = append(out, at)
			continue
		}
		text, all := strings.CutPrefix(address, ":")
		if port, err := strconv.ParseUint(text, 10, 16); all && err == nil {
			out = append(out, netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)), netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)))
		}
	}
	return out
}
