package survey

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
)

// The table that leads services' addresses to their tasks, and how the names of its maps go
// on behind the number of buckets ("few", "many").
const (
	balanceTable = "linkspan-balance"
	balanceMaps  = "_vips"
)

// Balanced counts the buckets by which a service's address leads to each of its tasks, in the
// namespace of a network over hosts.
func (s *Surveyor) Balanced(ctx context.Context, namespace string, service netip.Addr) (map[netip.Addr]int, error) {
	out := map[netip.Addr]int{}
	err := s.enter(ctx, namespace, func(fd int) error {
		rules, err := trace.Read(ctx, fd)
		if err != nil {
			return err
		}
		for _, t := range rules.Tables {
			if t.Family == unix.NFPROTO_INET && t.Name == balanceTable {
				countBuckets(t, service, out)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look into network namespace %s: %w", namespace, err)
	}
	return out, nil
}

func countBuckets(t *trace.Table, service netip.Addr, out map[netip.Addr]int) {
	size := service.BitLen() / 8
	family := "4"
	if service.Is6() {
		family = "6"
	}
	for name, set := range t.Sets {
		if !strings.HasSuffix(name, balanceMaps+family) {
			continue
		}
		for _, e := range set.Elements {
			if !strings.HasPrefix(e.Key, string(service.AsSlice())) || len(e.Data) < size {
				continue
			}
			if a, ok := netip.AddrFromSlice([]byte(e.Data[:size])); ok {
				out[a]++
			}
		}
	}
}
