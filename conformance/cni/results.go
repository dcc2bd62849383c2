package cni

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// resultCases are about what ADD prints.
func resultCases() []Case {
	const (
		abbreviated = "Delegated plugins (IPAM): may return an abbreviated Success object, which is missing the interfaces array, as well as the interface entry in ips."
		listed      = "interfaces: An array of all interfaces created by the attachment, including any host-level interfaces: name, mac, sandbox: The isolation domain reference (e.g. path to network namespace) for the interface, or empty if on the host. For interfaces created inside the container, this should be the value passed via CNI_NETNS."
		ips         = "ips: IPs assigned by this attachment: address: an IP address in CIDR notation, gateway, interface: the index into the interfaces list for a CNI Plugin Result indicating which interface this IP configuration should be applied to."
	)
	return []Case{
		{Name: "result/version", Level: Must, Spec: "cniVersion: The same version supplied on input", since: "0.3.1", each: true, play: func(s *stage) error {
			_, r, _, err := s.attached("c1")
			if err == nil && (r.CNIVersion == nil || *r.CNIVersion != s.version) {
				err = fmt.Errorf("cniVersion is %s, want %q", text(r.CNIVersion), s.version)
			}
			return err
		}},
		{Name: "result/interfaces", Level: Must, Spec: listed, since: "0.3.1", each: true, interfaces: true, play: resultInterfaces},
		{Name: "result/host-interfaces", Level: Must, Spec: listed, since: "0.3.1", interfaces: true, play: hostInterfaces},
		{Name: "result/mtu", Level: Must, Spec: "interfaces: mtu: The MTU of the interface (if applicable).", since: "1.1.0", interfaces: true, play: func(s *stage) error {
			c, r, o, err := s.attached("c1")
			if err != nil {
				return err
			}
			l, err := s.link(c)
			for _, i := range r.Interfaces {
				if err == nil && i.Name == c.ifname && i.MTU != 0 && i.MTU != l.MTU {
					err = fmt.Errorf("the result says mtu %d, the kernel %d: %s", i.MTU, l.MTU, o)
				}
			}
			return err
		}},
		{Name: "result/no-mtu-before", Level: Should, Spec: "mtu came with version 1.1.0", since: "0.3.1", interfaces: true, play: func(s *stage) error {
			s.version = "1.0.0"
			_, _, o, err := s.attached("c1")
			if err == nil && strings.Contains(string(o.stdout), `"mtu"`) {
				err = fmt.Errorf("the result has mtu: %s", o)
			}
			return err
		}},
		{Name: "result/addresses", Level: Must, Spec: ips, since: "0.3.1", each: true, play: resultAddresses},
		{Name: "result/family", Level: Must, Spec: "ips: version (0.3.1, 0.4.0): \"4\" or \"6\"; removed in 1.0.0", since: "0.3.1", each: true, play: resultFamily},
		{Name: "result/routes", Level: Must, Spec: "routes: Routes created by this attachment: dst: The destination of the route, in CIDR notation, gw: The next hop address.", since: "0.3.1", each: true, interfaces: true, play: resultRoutes},
		{Name: "result/gateway", Level: Must, Spec: ips, since: "0.3.1", play: func(s *stage) error {
			_, r, o, err := s.attached("c1")
			for _, one := range r.IPs {
				if one.Gateway == "" || err != nil {
					continue
				}
				p, bad := prefix(one.Address)
				if gw, worse := netip.ParseAddr(one.Gateway); bad != nil || worse != nil || gw.Is4() != p.Addr().Is4() {
					err = fmt.Errorf("%q is no gateway for %q: %s", one.Gateway, one.Address, o)
				}
			}
			return err
		}},
		{Name: "result/abbreviated", Level: Must, Spec: abbreviated, since: "0.3.1", each: true, needs: func(p Plugin) bool { return p.IPAM }, play: func(s *stage) error {
			_, r, o, err := s.attached("c1")
			if err == nil && (len(r.IPs) == 0 || len(r.Interfaces) > 0 || r.IPs[0].Interface != nil) {
				err = fmt.Errorf("it is not what an IPAM plugin says: %s", o)
			}
			return err
		}},
	}
}

// resultInterfaces: the interface of the container is there as the kernel has it.
func resultInterfaces(s *stage) error {
	c, r, o, err := s.attached("c1")
	if err != nil {
		return err
	}
	l, err := s.link(c)
	if err != nil {
		return err
	}
	for _, i := range r.Interfaces {
		if i.Name != c.ifname || i.Sandbox != c.namespace {
			continue
		}
		if mac, err := net.ParseMAC(i.Mac); err != nil || mac.String() != l.Address {
			return fmt.Errorf("the result says mac %q, the kernel %q", i.Mac, l.Address)
		}
		return nil
	}
	return fmt.Errorf("there is no interface %s with sandbox %s in the result: %s", c.ifname, c.namespace, o)
}

// hostInterfaces: those without a sandbox are the host's.
func hostInterfaces(s *stage) error {
	_, r, o, err := s.attached("c1")
	if err != nil {
		return err
	}
	for _, i := range r.Interfaces {
		if i.Sandbox != "" {
			continue
		}
		if _, err := ip(s.ctx, "link", "show", "dev", i.Name); err != nil {
			return fmt.Errorf("%w, and the result has it: %s", err, o)
		}
	}
	return nil
}

// resultAddresses: each address is where the result says.
func resultAddresses(s *stage) error {
	c, r, o, err := s.attached("c1")
	if err != nil {
		return err
	}
	if len(r.IPs) == 0 {
		return fmt.Errorf("the result has no address: %s", o)
	}
	all, err := links(s.ctx, c.name())
	if err != nil {
		return err
	}
	for _, one := range r.IPs {
		p, err := prefix(one.Address)
		if err != nil {
			return err
		}
		if s.p.IPAM {
			continue
		}
		if one.Interface == nil || *one.Interface < 0 || *one.Interface >= len(r.Interfaces) {
			return fmt.Errorf("address %s is no interface's: %s", one.Address, o)
		}
		if l := all[r.Interfaces[*one.Interface].Name]; !l.has(p) {
			return fmt.Errorf("interface %q does not have %s", r.Interfaces[*one.Interface].Name, p)
		}
	}
	return nil
}

// has tells whether an interface has an address.
func (l link) has(p netip.Prefix) bool {
	for _, a := range l.AddrInfo {
		if a.Local == p.Addr().String() && a.PrefixLen == p.Bits() {
			return true
		}
	}
	return false
}

// saysFamily tells whether addresses of results of a version say their family.
func saysFamily(version string) bool { return version == "0.3.1" || version == "0.4.0" }

// resultFamily: the key that went with 1.0.0.
func resultFamily(s *stage) error {
	_, r, o, err := s.attached("c1")
	if err != nil {
		return err
	}
	for _, one := range r.IPs {
		p, err := prefix(one.Address)
		if err != nil {
			return err
		}
		want := ""
		if saysFamily(s.version) {
			if want = "6"; p.Addr().Is4() {
				want = "4"
			}
		}
		if one.Version != want {
			return fmt.Errorf("version of %s is %q, want %q: %s", one.Address, one.Version, want, o)
		}
	}
	return nil
}

// resultRoutes: each route is there.
func resultRoutes(s *stage) error {
	c, r, o, err := s.attached("c1")
	if err != nil {
		return err
	}
	have, err := routes(s.ctx, c.name())
	if err != nil {
		return err
	}
	for _, route := range r.Routes {
		p, err := prefix(route.Dst)
		if err != nil {
			return err
		}
		want := p.Masked().String()
		if route.GW != "" {
			want += " via " + route.GW
		}
		if !have[want] {
			return fmt.Errorf("there is no route %s, which the result has: %s", want, o)
		}
	}
	return nil
}
