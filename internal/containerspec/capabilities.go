package containerspec

import (
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// NetAdmin tells whether a container's processes have CAP_NET_ADMIN, by the rules
// by which the runtime gives capabilities: ALL adds what is not dropped by name, and
// what is added by name is there.
func NetAdmin(h *container.HostConfig) bool {
	const capability, all = "NET_ADMIN", "ALL"
	has := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(c string) bool {
			return strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(c)), "CAP_") == name
		})
	}
	switch {
	case h == nil:
		return false
	case h.Privileged:
		return true
	case has(h.CapAdd, all):
		return !has(h.CapDrop, capability)
	}
	return has(h.CapAdd, capability)
}

// NoIPv6 tells whether a container's settings switch IPv6 off on all interfaces
// that it gets.
func NoIPv6(sysctls map[string]string) bool {
	for _, which := range []string{"all", "default"} {
		value, set := sysctls["net.ipv6.conf."+which+".disable_ipv6"]
		if set && strings.TrimSpace(value) != "0" {
			return true
		}
	}
	return false
}
