package swarm

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Docker's words for addresses that cannot be.
const (
	noAddress        = "could not find the system's IP address"
	mustListen       = "must specify a listening address because the address to advertise is not recognized as a system address, and a system's IP address to use could not be uniquely identified"
	badListen        = "listen address must be an IP address or network interface (with optional port number)"
	badAdvertise     = "advertise address must be a non-zero IP address or network interface (with optional port number)"
	badDataPath      = "data path address must be a non-zero IP address or network interface (without a port number)"
	badDefault       = "default advertise address must be a non-zero IP address or network interface (without a port number)"
	defaultDataPort  = 4789
	firstDataPort    = 1024
	lastDataPort     = 49151
	defaultSubnetLen = 24
	longestSubnetLen = 29
)

func invalid(format string, args ...any) error { return model.Errorf(model.Invalid, format, args...) }

// chooser chooses addresses of a host, as Docker does.
type chooser struct {
	interfaces []facts.Interface
	ours       []netip.Prefix // subnets of networks of ours: what has an address of one is no way to others
	standard   string         // --swarm-default-advertise-addr
}

// listen returns where a manager listens, host and port.
func (c chooser) listen(asked string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(asked)
	if err != nil {
		return "", "", invalid("could not parse listen address %s", asked)
	}
	a, err := c.named(host, true, badListen)
	return a, port, err
}

// advertise returns where others reach a manager that listens on a port.
func (c chooser) advertise(asked, listenPort string) (host, port string, err error) {
	switch {
	case asked != "":
		host, port, err := net.SplitHostPort(asked)
		if err != nil {
			host, port = asked, listenPort
		}
		a, err := c.named(host, false, badAdvertise)
		return a, port, err
	case c.standard != "":
		a, err := c.named(c.standard, false, badDefault)
		return a, listenPort, err
	}
	a, err := c.only()
	if err != nil {
		return "", "", err
	}
	return a.String(), listenPort, nil
}

// dataPath returns where others send what containers send; empty where nothing is asked for.
func (c chooser) dataPath(asked string) (string, error) {
	if asked == "" {
		return "", nil
	}
	return c.named(asked, false, badDataPath)
}

// local returns the host's own address, given where it listens and what it advertises.
func (c chooser) local(listens, advertised string) (string, error) {
	if a, err := netip.ParseAddr(listens); err != nil || !a.IsUnspecified() {
		return listens, nil
	}
	wanted, err := netip.ParseAddr(advertised)
	if err != nil {
		return "", invalid("%s", badAdvertise)
	}
	for _, i := range c.interfaces {
		for _, a := range i.Addrs {
			if a == wanted.Unmap() {
				return advertised, nil
			}
		}
	}
	a, err := c.only()
	if err != nil {
		e := model.Errorf(model.Invalid, "%s", mustListen)
		e.Who = err.Error()
		return "", e
	}
	return a.String(), nil
}

// named returns the address of an interface by its name, or an address itself.
func (c chooser) named(text string, unspecified bool, refusal string) (string, error) {
	for _, i := range c.interfaces {
		if i.Name == text {
			a, err := the(i)
			return a.String(), err
		}
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.IsUnspecified() && !unspecified {
		return "", invalid("%s", refusal)
	}
	return a.Unmap().String(), nil
}

// the returns the one address of an interface; of two families the IPv4 one. Addresses that
// mean nothing elsewhere are looked at where there is no other: Docker counts them, and
// refuses every interface with a global IPv6 address.
func the(i facts.Interface) (netip.Addr, error) {
	found := map[model.Family]netip.Addr{}
	beyond := slices.ContainsFunc(i.Addrs, func(a netip.Addr) bool { return !a.IsLinkLocalUnicast() })
	for _, a := range i.Addrs {
		f := model.FamilyOf(a)
		if beyond && a.IsLinkLocalUnicast() {
			continue
		}
		if other, twice := found[f]; twice {
			return netip.Addr{}, invalid("interface %s has more than one IPv%d address (%s and %s)", i.Name, f, other, a)
		}
		found[f] = a
	}
	for _, f := range model.Families {
		if a, ok := found[f]; ok {
			return a, nil
		}
	}
	return netip.Addr{}, invalid("interface %s has no usable IPv4 or IPv6 address", i.Name)
}

// only returns the one address by which others can reach this host: that of its
// hardware; where there is none with an address, that of its other interfaces, but for
// those of networks of ours.
func (c chooser) only() (netip.Addr, error) {
	var hardware, others []facts.Interface
	for _, i := range c.interfaces {
		switch {
		case !i.Up:
		case i.Plain && !i.Loop && len(global(i)) > 0:
			hardware = append(hardware, i)
		case !i.Loop && !c.isOurs(i):
			others = append(others, i)
		}
	}
	if len(hardware) > 0 {
		return single(hardware)
	}
	return single(others)
}

// isOurs tells whether an interface has an address of a network of ours.
func (c chooser) isOurs(i facts.Interface) bool {
	for _, a := range global(i) {
		for _, p := range c.ours {
			if p.Contains(a) {
				return true
			}
		}
	}
	return false
}

// global returns the addresses by which others may know an interface.
func global(i facts.Interface) (out []netip.Addr) {
	for _, a := range i.Addrs {
		if a.IsGlobalUnicast() {
			out = append(out, a)
		}
	}
	return out
}

// single returns the one address of several interfaces. Errors, in Docker's words: there
// is none; there are two.
func single(list []facts.Interface) (netip.Addr, error) {
	var chosen netip.Addr
	var on string
	for _, i := range list {
		found := map[model.Family]netip.Addr{}
		for _, a := range global(i) {
			f := model.FamilyOf(a)
			if other, twice := found[f]; twice {
				return chosen, several(i.Name, i.Name, other, a)
			}
			found[f] = a
		}
		for _, f := range model.Families {
			a, ok := found[f]
			if !ok {
				continue
			}
			if chosen.IsValid() {
				return chosen, several(on, i.Name, chosen, a)
			}
			chosen, on = a, i.Name
			break
		}
	}
	if !chosen.IsValid() {
		return chosen, invalid("%s", noAddress)
	}
	return chosen, nil
}

func several(one, other string, a, b netip.Addr) error {
	const words = "could not choose an IP address to advertise since this system has multiple addresses on "
	if one == other {
		return invalid(words+"interface %s (%s and %s)", one, a, b)
	}
	return invalid(words+"different interfaces (%s on %s and %s on %s)", a, one, b, other)
}

// checkPools refuses pools that subnets of a length cannot be cut from.
func checkPools(pools []netip.Prefix, bits uint32) error {
	if pools == nil {
		return nil
	}
	if bits == 0 {
		bits = defaultSubnetLen
	}
	if bits > longestSubnetLen {
		return model.Errorf(model.Unfit, "subnet size is out of range: %d", bits)
	}
	for _, p := range pools {
		if !p.IsValid() || bits < uint32(p.Bits()) {
			return model.Errorf(model.Unfit, "invalid CIDR: %q. Subnet size is too small for pool: %d", p, bits)
		}
	}
	return nil
}

// dataPort returns the UDP port of what containers send.
func dataPort(asked uint32) (uint32, error) {
	switch {
	case asked == 0:
		return defaultDataPort, nil
	case asked < firstDataPort || asked > lastDataPort:
		return 0, model.Errorf(model.Unfit, "Datapath port number is not in valid range (1024-49151) : %d", asked)
	}
	return asked, nil
}

// completeAddr adds what a TCP address leaves out: 0.0.0.0 and port 2377. It returns
// what it cannot read as it is: whom it is for will refuse it.
func completeAddr(text string) (string, error) {
	if text == "" {
		return "", fmt.Errorf("invalid empty address")
	}
	const port = "2377"
	trimmed := text
	if len(text) > len("tcp://") && text[:len("tcp://")] == "tcp://" {
		trimmed = text[len("tcp://"):]
	}
	host, given, err := net.SplitHostPort(trimmed)
	if err != nil {
		host, given = trimmed, ""
		if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
			host = host[1 : len(host)-1]
		}
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if given == "" {
		given = port
	}
	return net.JoinHostPort(host, given), nil
}
