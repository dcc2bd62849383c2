package driver

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// OptionDNSRoutes names domains with name servers of their own, for the
// containers of a network: "corp.example=10.0.0.53,10.0.0.54;lab.example=10.1.0.1".
const OptionDNSRoutes = "com.linkspan.dns.routes"

// Bounds of OptionDNSRoutes, and of domain names (RFC 1035, section 2.3.4).
const (
	maxRoutes       = 64
	maxRouteServers = 8
	maxDomain       = 253
	maxLabel        = 63
)

// DNSRoutes reads OptionDNSRoutes of a network, in the order given. Errors are
// Invalid and say what is wrong with which part.
func DNSRoutes(n model.Network) ([]desired.DNSRoute, error) {
	var out []desired.DNSRoute
	for _, text := range strings.FieldsFunc(n.Options[OptionDNSRoutes], func(r rune) bool { return r == ';' }) {
		domain, servers, ok := strings.Cut(strings.TrimSpace(text), "=")
		if !ok {
			return nil, Unparsable(OptionDNSRoutes, text, "write DOMAIN=ADDRESS,ADDRESS;DOMAIN=ADDRESS")
		}
		r := desired.DNSRoute{Domain: strings.ToLower(strings.TrimSuffix(strings.TrimSpace(domain), "."))}
		switch {
		case !validDomain(r.Domain):
			return nil, Unparsable(OptionDNSRoutes, domain, "invalid domain name")
		case slices.ContainsFunc(out, func(o desired.DNSRoute) bool { return o.Domain == r.Domain }):
			return nil, Unparsable(OptionDNSRoutes, domain, "the domain is there twice")
		case len(out) == maxRoutes:
			return nil, model.Errorf(model.Invalid, "failed to parse %s value: at most %d domains", OptionDNSRoutes, maxRoutes)
		}
		for _, s := range strings.Split(servers, ",") {
			a, err := netip.ParseAddr(strings.TrimSpace(s))
			if err != nil || a.Zone() != "" || a.IsUnspecified() || len(r.Servers) == maxRouteServers {
				return nil, Unparsable(OptionDNSRoutes, s, "invalid name server of "+r.Domain)
			}
			r.Servers = append(r.Servers, a.Unmap())
		}
		out = append(out, r)
	}
	return out, nil
}

// validDomain tells whether a name without its last dot can be that of a domain.
// Underscores are not for hosts, and yet used.
func validDomain(name string) bool {
	if name == "" || len(name) > maxDomain {
		return false
	}
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}
