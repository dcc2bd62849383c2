package lab

import (
	"context"
	"fmt"
	"time"
)

// Until calls try every 20 milliseconds until it succeeds, for at most the given time, and then returns what it said
// last.
func Until(ctx context.Context, limit time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("still not after %s: %w", limit, err)
		case <-pause.C:
		}
	}
}
