package facts

import "net/netip"

// Interface is one of the host's own interfaces, as addresses are chosen from.
type Interface struct {
	Name  string
	Up    bool
	Loop  bool         // the loopback interface
	Plain bool         // of no kind: hardware, or the loopback interface
	MTU   int          // in bytes
	Addrs []netip.Addr // in the kernel's order
}
