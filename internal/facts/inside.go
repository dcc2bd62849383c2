package facts

import "net/netip"

// Inside is an interface of a network namespace, as it is seen there.
type Inside struct {
	Name  string
	MAC   string // "02:42:…", lower case
	Up    bool
	Addrs []netip.Prefix
}
