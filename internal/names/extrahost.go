package names

import (
	"net/netip"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// HostGateway is the address in `--add-host name:host-gateway`: the host as the
// container reaches it.
const HostGateway = "host-gateway"

// ExtraHost is one `--add-host`.
type ExtraHost struct {
	Name    string
	Addr    netip.Addr
	Gateway bool // host-gateway instead of Addr
}

// ParseExtraHost reads "host:ip" or "host=ip", where ip may be an IPv6 address,
// in brackets or not, or HostGateway. The first separator counts: a host name
// has neither colon nor equals sign. Errors are of kind Invalid with Docker's
// text.
func ParseExtraHost(s string) (ExtraHost, error) {
	cut := strings.IndexAny(s, "=:")
	if cut <= 0 || strings.ContainsAny(s[:cut], " \t\r\n\x00") {
		return ExtraHost{}, model.Errorf(model.Invalid, "bad format for add-host: %q", s)
	}
	name, value := s[:cut], s[cut+1:]
	if value == HostGateway {
		return ExtraHost{Name: name, Gateway: true}, nil
	}
	bare := value
	if len(value) > 2 && value[0] == '[' && value[len(value)-1] == ']' {
		bare = value[1 : len(value)-1]
	}
	addr, err := netip.ParseAddr(bare)
	if err != nil || addr.Zone() != "" {
		return ExtraHost{}, model.Errorf(model.Invalid, "invalid IP address in add-host: %q", value)
	}
	return ExtraHost{Name: name, Addr: addr}, nil
}

// ResolveExtraHosts returns the lines for hosts in their order. gateways are the
// addresses of HostGateway, one for each family there is; each gives a line.
// Without any, a host that wants one is an error of kind Invalid with Docker's
// text.
func ResolveExtraHosts(hosts []ExtraHost, gateways []netip.Addr) ([]HostEntry, error) {
	var out []HostEntry
	for _, h := range hosts {
		if !h.Gateway {
			out = append(out, HostEntry{h.Addr, []string{h.Name}})
			continue
		}
		found := false
		for _, a := range gateways {
			if a.IsValid() {
				out, found = append(out, HostEntry{a, []string{h.Name}}), true
			}
		}
		if !found {
			return nil, model.Errorf(model.Invalid, "unable to derive the IP value for host-gateway")
		}
	}
	return out, nil
}
