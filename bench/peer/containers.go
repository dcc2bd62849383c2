package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	settle = 3 * time.Second // until a daemon that has just started is idle
	burst  = 20              // how many containers are started in parallel
)

// memory compares the daemons while there is nothing to do.
func memory(ctx context.Context, b *bench) error {
	select { // nothing is waited for: it is rest that counts
	case <-time.After(settle):
	case <-ctx.Done():
	}
	b.measure(ctx, row{what: "memory, idle daemon", unit: "MB", target: ratioAtMost(0.5)}, 1,
		func(_ context.Context, s *side) (float64, error) { return s.memory(s.daemons) })
	b.measure(ctx, row{what: "memory, idle daemon and containerd", unit: "MB"}, 1,
		func(_ context.Context, s *side) (float64, error) {
			return s.memory(append([]string{"containerd"}, s.daemons...))
		})
	return nil
}

// runs compares single containers. The first of each is not counted.
func runs(ctx context.Context, b *bench) error {
	for _, s := range b.sides() {
		if _, err := s.run(ctx, "run", "--rm", "busybox", "true"); err != nil {
			return err
		}
	}
	b.measure(ctx, row{what: "docker run -d", unit: "ms", target: ratioAtMost(0.6)}, 9,
		func(ctx context.Context, s *side) (float64, error) {
			took, err := s.run(ctx, "run", "--detach", "--name", "bench-run", "busybox", "sleep", "600")
			return milliseconds(took), errors.Join(err, s.remove(ctx, "bench-run"))
		})
	b.measure(ctx, row{what: "docker run --rm, on a bridge", unit: "ms", target: ratioAtMost(0.6)}, 9,
		func(ctx context.Context, s *side) (float64, error) {
			took, err := s.run(ctx, "run", "--rm", "busybox", "true")
			return milliseconds(took), err
		})
	return nil
}

// networks compares the making of a network.
func networks(ctx context.Context, b *bench) error {
	b.measure(ctx, row{what: "docker network create", unit: "ms", target: ratioAtMost(0.6)}, 9,
		func(ctx context.Context, s *side) (float64, error) {
			took, err := s.run(ctx, "network", "create", "bench-network")
			_, rm := s.run(ctx, "network", "rm", "bench-network")
			return milliseconds(took), errors.Join(err, rm)
		})
	return nil
}

// parallel compares a burst of starts.
func parallel(ctx context.Context, b *bench) error {
	what := fmt.Sprintf("docker run -d, %d in parallel", burst)
	b.measure(ctx, row{what: what, unit: "ms", target: ratioAtMost(0.6)}, 3,
		func(ctx context.Context, s *side) (float64, error) {
			var names []string
			done := make(chan error, burst)
			begin := time.Now()
			for i := range burst {
				name := fmt.Sprintf("bench-run-%d", i)
				names = append(names, name)
				go func() {
					_, err := s.run(ctx, "run", "--detach", "--name", name, "busybox", "sleep", "600")
					done <- err
				}()
			}
			var err error
			for range names {
				err = errors.Join(err, <-done)
			}
			took := time.Since(begin)
			return milliseconds(took), errors.Join(err, s.remove(ctx, names...))
		})
	return nil
}

// milliseconds of a duration.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
