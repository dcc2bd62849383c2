package hostports

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Listeners returns who waits at a port of this network namespace, by TCP or UDP:
// one entry for each address, with the first process that has a socket there. On a
// host where that takes more than a second, processes are left out.
func Listeners(ctx context.Context, port uint16) ([]facts.Listener, error) {
	patience, cancel := context.WithTimeout(ctx, 2*ownerTime)
	defer cancel()
	var out []facts.Listener
	for _, protocol := range []model.Protocol{model.TCP, model.UDP} {
		all, err := listeners(ctx, protocol)
		if err != nil {
			return nil, err
		}
		inodes := map[netip.AddrPort][]uint64{}
		for _, e := range all {
			if e.local.Port() == port {
				inodes[e.local] = append(inodes[e.local], e.inode)
			}
		}
		for at, sockets := range inodes {
			out = append(out, facts.Listener{Protocol: protocol, At: at, Who: process(patience, sockets)})
		}
	}
	slices.SortFunc(out, func(a, b facts.Listener) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.At.Compare(b.At))
	})
	return out, nil
}
