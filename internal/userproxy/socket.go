package userproxy

import (
	"net/netip"
	"sync/atomic"

	"github.com/linkspan/linkspan/internal/portsocket"
)

// socket is one of the table's from which proxies are served. It drops all packets but
// those to addresses that proxies have.
type socket struct {
	*portsocket.Socket
	watched int32                   // by the poller, under this number; 0: not yet
	routes  atomic.Pointer[[]route] // never changed in place: whoever accepts reads them
}

// route is where packets to an address go.
type route struct {
	host  netip.Addr // unspecified: any
	proxy *proxy
}

func newSocket(sock *portsocket.Socket) *socket {
	out := &socket{Socket: sock}
	out.routes.Store(&[]route{})
	return out
}

// lead sends what comes to host to a proxy; nil sends it nowhere. The filter has
// to follow.
func (s *socket) lead(host netip.Addr, p *proxy) {
	var next []route
	for _, r := range *s.routes.Load() {
		if r.host != host {
			next = append(next, r)
		}
	}
	if p != nil {
		next = append(next, route{host, p})
	}
	s.routes.Store(&next)
	s.Proxied = len(next) > 0
}

// route returns the proxy of exactly this address.
func (s *socket) route(host netip.Addr) *proxy {
	for _, r := range *s.routes.Load() {
		if r.host == host {
			return r.proxy
		}
	}
	return nil
}

// find returns the proxy for what was sent to a local address, or nil.
func (s *socket) find(local netip.Addr) *proxy {
	local = local.WithZone("")
	if p := s.route(local); p != nil {
		return p
	}
	if p := s.route(portsocket.Unspecified(local)); p != nil && p.reaches(local) {
		return p
	}
	return nil
}

// filter makes the socket drop what no proxy is for. If that cannot arrive, there is
// no program at all: one costs more to set up than the socket itself.
func (s *socket) filter() error {
	var hosts []netip.Prefix
	open := false
	for _, r := range *s.routes.Load() {
		if r.proxy.row.Rest && r.host.Is6() {
			hosts = append(hosts, netip.PrefixFrom(netip.IPv6Loopback(), 128), linkLocal)
			continue
		}
		// To which broadcast address of which interface something was sent only the
		// datagram itself says.
		hosts = append(hosts, netip.PrefixFrom(r.host, r.host.BitLen()))
		open = open || r.host.IsUnspecified() || r.host == s.Addr
	}
	if open || len(hosts) > maxHosts {
		return s.AdmitAll()
	}
	return s.Admit(hosts)
}

// socketOf returns what the proxies know of a socket of the table.
func (s *Server) socketOf(sock *portsocket.Socket) *socket {
	if known := s.sockets[sock]; known != nil {
		return known
	}
	out := newSocket(sock)
	s.sockets[sock] = out
	sock.BeforeClose = func() {
		delete(s.sockets, sock)
		if out.watched != 0 {
			s.pollerOf(sock.Protocol).remove(out)
		}
	}
	return out
}
