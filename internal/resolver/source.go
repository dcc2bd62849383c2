package resolver

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/resolver/message"
	"github.com/linkspan/linkspan/internal/resolver/upstream"
)

// source is where queries go, and from which namespace.
type source struct {
	upstream.Servers
	answered atomic.Int64 // of the latest answer, see forwarder.elapsed
	// key begins the cache's keys. Answers of one source are not given to users
	// of another: the same name may be something else there.
	key string
}

// newSource keeps what old has learned, if it is the same.
func newSource(namespace string, networks []model.NetworkID, servers []netip.Addr, old *source) *source {
	var key strings.Builder
	key.WriteString(namespace)
	for _, n := range networks {
		key.WriteByte(1)
		key.WriteString(string(n))
	}
	for _, s := range servers {
		key.WriteByte(2)
		key.WriteString(s.String())
	}
	key.WriteByte(0)
	if old != nil && old.key == key.String() {
		return old
	}
	return &source{Servers: upstream.Servers{Namespace: namespace, Addrs: servers}, key: key.String()}
}

// route is a domain with a source of its own.
type route struct {
	domain string // in canonical form; empty for every name
	source *source
}

// covers tells whether a name in canonical form is in the domain.
func (r route) covers(name []byte) bool {
	return message.InDomain(name, r.domain)
}

// newRoutes returns the routes of a row, the longest domain first. One without
// name servers is none.
func newRoutes(row desired.Resolver, old []route) []route {
	var routes []route
	for _, r := range row.Routes {
		servers := usable(r.Servers)
		if len(servers) == 0 {
			continue
		}
		made := route{domain: message.Canonical(strings.TrimPrefix(r.Domain, "."))}
		if i := slices.IndexFunc(old, func(o route) bool { return o.domain == made.domain }); i >= 0 {
			made.source = old[i].source
		}
		made.source = newSource(row.Namespace, row.Networks, servers, made.source)
		routes = append(routes, made)
	}
	slices.SortStableFunc(routes, func(a, b route) int { return len(b.domain) - len(a.domain) })
	return routes
}

// usable returns the servers that can be asked from a sandbox, each once. Our
// own address would have the query come back to us, for ever.
func usable(servers []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range servers {
		if a.IsValid() && a.Unmap() != ownAddress && len(out) < upstream.MaxServers && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// sourceOf applies the rule of who is asked: the servers of the name's domain or
// of the sandbox from inside it, else the host's from the host, which a sandbox
// with only internal networks must not reach (CVE-2024-29018). The result is nil
// if there is nobody.
func (f *forwarder) sourceOf(v *view, name []byte) *source {
	for _, r := range v.routes {
		if r.covers(name) {
			return r.source
		}
	}
	switch {
	case len(v.row.Servers) > 0:
		return v.own // nil if none of them can be asked
	case v.row.Internal || f.hostServers == nil:
		return nil
	}
	return f.hostSource()
}

// hostSource is the host's name servers as of now. 127.0.0.11 is not ours in the
// host's namespace: it is what a container finds that itself runs an engine.
func (f *forwarder) hostSource() *source {
	servers := f.hostServers()
	if len(servers) == 0 {
		return nil
	}
	servers = servers[:min(len(servers), upstream.MaxServers)]
	now := f.host.Load()
	if now == nil || !slices.Equal(now.Addrs, servers) {
		now = newSource(desired.HostNamespace, nil, slices.Clone(servers), now)
		f.host.Store(now)
	}
	return now
}
