package nft

import (
	"context"
	"fmt"
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
