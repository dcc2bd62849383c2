package machine

import (
	"fmt"
	"net"
	"net/netip"
)

// InterfaceAddrs returns the addresses of an interface of the host, by its name; false
// if there is none of that name.
func InterfaceAddrs(name string) ([]netip.Prefix, bool, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, false, nil //nolint:nilerr // it is not there, or cannot be looked at
	}
	list, err := i.Addrs()
	if err != nil {
		return nil, true, fmt.Errorf("addresses of interface %s: %w", name, err)
	}
	var out []netip.Prefix
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p)
		}
	}
	return out, true, nil
}
