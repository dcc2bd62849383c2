package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	askTime   = "2s"
	resolver  = "127.0.0.11:53"
	easyRate  = 10_000 // questions a second of which latencies are measured
	slowRate  = 1000   // where every question goes to the upstream
	mostLost  = 1000   // one in so many answers may be missing at these rates
	localName = "bench-server"
)

// names compares the resolvers, asked from inside a container's network namespace.
func names(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, s := range b.sides() {
		server := s.lab.World().Command(ctx, b.load, "dns-server", upstream+":53")
		if err := server.Start(); err != nil {
			return err
		}
		defer func() { cancel(); _ = server.Wait() }() // killed, as was meant
		defer s.clear()
		if err := s.serve(ctx, b.load); err != nil {
			return err
		}
	}
	for _, q := range []struct {
		what    string
		rate    int
		top     target
		p99     target
		options []string
		name    string
	}{
		{"local name", easyRate, ratioAtLeast(2), atMost(1000), nil, localName},
		{"external name, asked before", easyRate, target{}, atMost(1000), nil, "cached.example.test"},
		{"external name, new", slowRate, target{}, target{}, []string{"-unique"}, "example.test"},
	} {
		what := "DNS, " + q.what + ", "
		flood := []row{
			{what: what + "queries", unit: "1/s", target: q.top},
			{what: what + "processor time", unit: "µs"},
		}
		b.measureAll(ctx, flood, rounds, func(ctx context.Context, s *side) ([]float64, error) {
			return s.flood(ctx, append(append([]string{b.load, "dns", "-for", askTime}, q.options...), resolver, q.name))
		})
		calm := []row{
			{what: fmt.Sprintf("%sp50 at %d/s", what, q.rate), unit: "µs"},
			{what: fmt.Sprintf("%sp99 at %d/s", what, q.rate), unit: "µs", target: q.p99},
		}
		b.measureAll(ctx, calm, rounds, func(ctx context.Context, s *side) ([]float64, error) {
			args := append([]string{b.load, "dns", "-for", askTime, "-rate", strconv.Itoa(q.rate)}, q.options...)
			return s.calm(ctx, append(args, resolver, q.name))
		})
	}
	return nil
}

// answers is what the load generator says.
type answers struct {
	Asked, Good, Bad  int
	Seconds, P50, P99 float64
}

// ask asks from inside the client.
func (s *side) ask(ctx context.Context, args []string) (answers, error) {
	in, err := s.inside(ctx, "bench-client")
	if err != nil {
		return answers{}, err
	}
	got, err := report[answers](ctx, s.host.Machine, append(in, args...)...)
	if err == nil && got.Good == 0 {
		err = fmt.Errorf("%s: none of %d questions was answered with a record, %d otherwise", strings.Join(args, " "), got.Asked, got.Bad)
	}
	return got, err
}

// flood is how many questions a second are answered, and the daemons' processor time for each in microseconds.
func (s *side) flood(ctx context.Context, args []string) ([]float64, error) {
	before, err := s.processorTime()
	if err != nil {
		return nil, err
	}
	got, err := s.ask(ctx, args)
	if err != nil {
		return nil, err
	}
	after, err := s.processorTime()
	took := float64((after - before) / time.Microsecond)
	return []float64{float64(got.Good) / got.Seconds, took / float64(got.Good)}, err
}

// calm is the latency at a rate that must not be trouble: p50 and p99 in microseconds.
func (s *side) calm(ctx context.Context, args []string) ([]float64, error) {
	got, err := s.ask(ctx, args)
	if err == nil && got.Asked-got.Good > got.Asked/mostLost {
		err = fmt.Errorf("%s: only %d of %d questions were answered", strings.Join(args, " "), got.Good, got.Asked)
	}
	return []float64{got.P50, got.P99}, err
}
