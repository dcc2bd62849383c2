package nft

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Supported says whether this kernel has nf_tables: nil, or why not.
func (b *Backend) Supported(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.tables {
		if _, err := b.conn.readFrame(ctx, t); err != nil {
			return fmt.Errorf("read %s: %w", t, err)
		}
	}
	return nil
}

// RemoveDockers removes the tables of this network namespace that a dockerd with its
// nftables backend has left, and returns their names.
func RemoveDockers(ctx context.Context) (removed []string, err error) {
	c, err := dial(0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		t := table{family: family, name: "docker-bridges"}
		seen, err := c.readFrame(ctx, t)
		if err != nil || seen == nil {
			continue // no nf_tables, or no such table
		}
		refused, err := c.commit(ctx, []message{t.delTable()})
		if err == nil && len(refused) > 0 {
			err = refused[0].err
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return removed, fmt.Errorf("remove %s: %w", t, err)
		}
		removed = append(removed, t.String())
	}
	return removed, nil
}
