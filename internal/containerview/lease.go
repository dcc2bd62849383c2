package containerview

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// withLease adds what a DHCP server or a router has said to what is shown of a membership,
// under names that begin with prefix.
func withLease(options map[string]string, prefix string, l *model.Lease) map[string]string {
	if l == nil {
		return options
	}
	out := maps.Clone(options)
	if out == nil {
		out = map[string]string{}
	}
	put := func(name, value string) {
		if value != "" {
			out[prefix+name] = value
		}
	}
	if l.Stateless {
		put("router", l.Server.String())
	} else {
		put("server", l.Server.String())
	}
	put("obtained", moment(l.From))
	put("renew", moment(l.Renew))
	put("rebind", moment(l.Rebind))
	put("expires", moment(l.Until))
	put("dns", list(l.DNS))
	put("domain", l.Domain)
	put("search", strings.Join(l.Search, " "))
	put("ntp", list(l.NTP))
	if l.Until.IsZero() {
		put("expires", "never")
	}
	if l.MTU != 0 {
		put("mtu", fmt.Sprint(l.MTU))
	}
	var routes []string
	for _, r := range l.Routes {
		routes = append(routes, r.String())
	}
	put("routes", strings.Join(routes, ", "))
	return out
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func list(all []netip.Addr) string {
	var out []string
	for _, a := range all {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}
