package survey

import (
	"context"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/model"
)

// stateListen is that of a socket that waits for connections (include/net/tcp_states.h).
const stateListen = 10

// sockets are those of the thread's namespace that wait at a port, by TCP or UDP.
func (s *Surveyor) sockets(ctx context.Context, h *netlink.Handle, port uint16) (out []evidence.Socket) {
	if s.o.Listeners == nil {
		return nil
	}
	found, err := s.o.Listeners(ctx, port)
	if err != nil {
		return nil
	}
	queues := queues(h, port)
	for _, l := range found {
		one := evidence.Socket{Protocol: l.Protocol, At: l.At, Who: l.Who}
		if q, ok := queues[l.At]; ok && l.Protocol == model.TCP {
			one.Waiting, one.Backlog = int(q.RQueue), int(q.WQueue)
		}
		out = append(out, one)
	}
	return out
}

// queues are the listening sockets at a TCP port. Of such a one, the kernel tells as queues
// how many connections wait, and how many may (net/ipv4/tcp_diag.c). A kernel that does not
// tell has none.
func queues(h *netlink.Handle, port uint16) map[netip.AddrPort]*netlink.Socket {
	out := map[netip.AddrPort]*netlink.Socket{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		all, _ := h.SocketDiagTCP(family) // see above
		for _, one := range all {
			addr, _ := netip.AddrFromSlice(one.ID.Source)
			if family == unix.AF_INET {
				addr = addr.Unmap()
			}
			if one.State == stateListen && one.ID.SourcePort == port {
				out[netip.AddrPortFrom(addr, port)] = one
			}
		}
	}
	return out
}
