package facts

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
)

// Listener is sockets of the host that wait at a port for whoever comes.
type Listener struct {
	Protocol model.Protocol
	At       netip.AddrPort // unspecified: every address of the family; :: often of both
	Who      string         // "process nginx, pid 123"; empty if no process has them, or it cannot be told
}
