package explain

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
)

// host is what the kernel says of links, addresses and routes. It implements trace.Host.
type host struct {
	netlink *netlink.Handle
	links   map[string]netlink.Link
	names   map[int]string
	addrs   map[netip.Addr]string // the host's own, and the link that has each
}

func look(h *netlink.Handle) (*host, error) {
	out := &host{h, map[string]netlink.Link{}, map[int]string{}, map[netip.Addr]string{}}
	links, err := h.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	for _, l := range links {
		out.links[l.Attrs().Name], out.names[l.Attrs().Index] = l, l.Attrs().Name
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	for _, a := range addrs {
		ip, _ := netip.AddrFromSlice(a.IP)
		out.addrs[ip.Unmap()] = out.names[a.LinkIndex]
	}
	return out, nil
}

// link is an interface as packets know it.
func (h *host) link(name string) trace.Link {
	l := h.links[name]
	if l == nil {
		return trace.Link{Name: name}
	}
	return trace.Link{Name: name, Index: uint32(l.Attrs().Index), Group: l.Attrs().Group}
}

// AddrType implements trace.Host.
func (h *host) AddrType(a netip.Addr, link string) uint32 {
	if link != "" {
		if owner, ok := h.addrs[a]; ok {
			if owner == link {
				return unix.RTN_LOCAL
			}
			return unix.RTN_UNICAST
		}
	}
	r, err := h.netlink.RouteGet(net.IP(a.AsSlice()))
	switch {
	case a.IsLoopback():
		return unix.RTN_LOCAL
	case a.IsMulticast():
		return unix.RTN_MULTICAST
	case err != nil || len(r) == 0:
		return unix.RTN_UNREACHABLE
	}
	return uint32(r[0].Type)
}

// WayBack implements trace.Host.
func (h *host) WayBack(p *trace.Packet) uint32 {
	r, err := h.netlink.RouteGetWithOptions(net.IP(p.Source().AsSlice()), &netlink.RouteGetOptions{OifIndex: int(p.In.Index)})
	if err != nil || len(r) == 0 || r[0].LinkIndex != int(p.In.Index) {
		return 0
	}
	return p.In.Index
}

// NextHop implements trace.Host.
func (h *host) NextHop(p *trace.Packet) netip.Addr {
	r, err := h.netlink.RouteGet(net.IP(p.Destination().AsSlice()))
	if err == nil && len(r) > 0 && r[0].Gw != nil {
		gateway, _ := netip.AddrFromSlice(r[0].Gw)
		return gateway.Unmap()
	}
	return p.Destination()
}

// way is where routing sends a packet.
type way struct {
	local bool
	link  string
	from  netip.Addr // the source that a packet of the host's own gets
}

// route asks for the way of a packet that comes in by a link, or of the host's own.
func (h *host) route(from, to netip.Addr, in string) (way, error) {
	o := &netlink.RouteGetOptions{}
	if in != "" {
		o.Iif, o.SrcAddr = in, net.IP(from.AsSlice())
	} else if from.IsValid() {
		o.SrcAddr = net.IP(from.AsSlice())
	}
	r, err := h.netlink.RouteGetWithOptions(net.IP(to.AsSlice()), o)
	if err != nil {
		return way{}, err
	}
	if len(r) == 0 {
		return way{}, unix.ENETUNREACH
	}
	src, _ := netip.AddrFromSlice(r[0].Src)
	return way{r[0].Type == unix.RTN_LOCAL, h.names[r[0].LinkIndex], src.Unmap()}, nil
}
