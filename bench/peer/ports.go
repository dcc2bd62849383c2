package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan/lab"
)

const (
	firstPort   = 10_000
	firstOther  = 20_000
	othersCount = 10_000 // up to 29 999, below the ports that clients connect from (ip_local_port_range)
	mostDocker  = 100    // more ports take docker.io minutes
	sampleSize  = 50     // ports of a range that are looked at
)

// both is a network with IPv4 and IPv6, where every port is published twice.
const both = "bench-both"

// publication is one number of ports to publish, and what is expected of it.
type publication struct {
	count, rounds int
	publish, drop target // milliseconds
	memory        target // MB
	network       string // other than the default one
	others        int    // ports that are published already
}

// publications are the sizes that are measured.
func publications() []publication {
	return []publication{
		{count: 1, rounds: 7},
		{count: 100, rounds: 3},
		{count: 1000, rounds: 5, publish: atMost(500), drop: atMost(500), memory: atMost(20)},
		{count: 10_000, rounds: 5, publish: atMost(1000), memory: atMost(20)},
	}
}

// ports compares how long publishing takes, the time of a run with ports minus that of a run without, and whether all
// ports are then there.
func ports(ctx context.Context, b *bench) error {
	for _, s := range b.sides() {
		if _, err := s.run(ctx, "network", "create", "--ipv6", "--subnet", "fd00:bec::/64", both); err != nil {
			return err
		}
		defer func() { _, _ = s.run(context.WithoutCancel(ctx), "network", "rm", both) }()
	}
	for _, p := range publications() {
		b.publish(ctx, p)
	}
	for _, p := range publications() {
		p.network, p.rounds = both, rounds
		b.publish(ctx, p)
	}
	for _, network := range []string{"", both} {
		b.reach(ctx, network, mostDocker)
		b.reach(ctx, network, othersCount)
	}
	if err := b.linkspan.publishOthers(ctx); err != nil {
		return err
	}
	for _, p := range publications() {
		p.others, p.rounds = othersCount, rounds
		b.publish(ctx, p)
	}
	return b.linkspan.remove(ctx, "bench-others")
}

// publishOthers publishes ports that nobody uses.
func (s *side) publishOthers(ctx context.Context) error {
	_, err := s.run(ctx, "run", "--detach", "--name", "bench-others",
		"--publish", portRange(firstOther, othersCount), "busybox", "sleep", "3600")
	return err
}

// portRange is count ports from the first on, on the host and in the container.
func portRange(first, count int) string {
	if count == 1 {
		return fmt.Sprintf("%d:%d", first, first)
	}
	return fmt.Sprintf("%d-%d:%d-%d", first, first+count-1, first, first+count-1)
}

// String says which publication it is.
func (p publication) String() string {
	text := strconv.Itoa(p.count) + " port"
	if p.count > 1 {
		text += "s"
	}
	if p.network != "" {
		text += ", IPv4 and IPv6"
	}
	if p.others > 0 {
		text += fmt.Sprintf(", %d others", p.others)
	}
	return text
}

// publish measures one publication.
func (b *bench) publish(ctx context.Context, p publication) {
	rows := []row{
		{what: fmt.Sprintf("publish %s", p), unit: "ms", target: p.publish},
		{what: fmt.Sprintf("remove %s", p), unit: "ms", target: p.drop},
		{what: fmt.Sprintf("memory for %s", p), unit: "MB", target: p.memory},
	}
	b.measureAll(ctx, rows, p.rounds, func(ctx context.Context, s *side) ([]float64, error) {
		if s == b.docker && (p.count > mostDocker || p.others > 0) {
			return nil, errNotRun
		}
		options := on(p.network)
		// What a removal leaves to be done later is borne by the next start: both that count come after one of their own.
		if _, _, _, err := s.comeAndGo(ctx, options...); err != nil {
			return nil, err
		}
		plainUp, plainDown, _, err := s.comeAndGo(ctx, options...)
		if err != nil {
			return nil, err
		}
		up, down, memory, err := s.comeAndGo(ctx, append(options, "--publish", portRange(firstPort, p.count))...)
		return []float64{milliseconds(up - plainUp), milliseconds(down - plainDown), memory}, err
	})
}

// on is the option for a network; the default one needs none.
func on(network string) []string {
	if network == "" {
		return nil
	}
	return []string{"--network", network}
}

// comeAndGo runs a container with the options and removes it: how long each took, and how much more memory the daemons
// had between.
func (s *side) comeAndGo(ctx context.Context, options ...string) (up, down time.Duration, memory float64, err error) {
	before, err := s.memory(s.daemons)
	if err != nil {
		return 0, 0, 0, err
	}
	args := append([]string{"run", "--detach", "--name", "bench-ports"}, options...)
	if up, err = s.run(ctx, append(args, "busybox", "sleep", "3600")...); err != nil {
		return 0, 0, 0, errors.Join(err, s.remove(ctx, "bench-ports"))
	}
	between, err := s.memory(s.daemons)
	down, rm := s.run(ctx, "rm", "--force", "bench-ports")
	return up, down, between - before, errors.Join(err, rm)
}

// sample are ports of a range, the same ones each time.
func sample(first, count int) string {
	chance := rand.New(rand.NewPCG(1, 2))
	var words []string
	for _, i := range chance.Perm(count)[:min(sampleSize, count)] {
		words = append(words, strconv.Itoa(first+i))
	}
	return strings.Join(words, ",")
}

// reach publishes a range and counts of how many of its ports what is promised holds.
func (b *bench) reach(ctx context.Context, network string, count int) {
	size := fmt.Sprintf("%d of %s: ", sampleSize, publication{count: count, network: network})
	all := atLeast(sampleSize)
	rows := []row{
		{what: size + "from outside", target: all},
		{what: size + "from outside, IPv6", target: all},
		{what: size + "by localhost", target: all},
		{what: size + "by localhost, IPv6", target: all},
		{what: size + "bind refused, TCP", target: all},
		{what: size + "bind allowed after removal", target: all},
	}
	b.measureAll(ctx, rows, 1, func(ctx context.Context, s *side) ([]float64, error) {
		if s == b.docker && count > mostDocker {
			return nil, errNotRun
		}
		ports := sample(firstPort, count)
		args := append([]string{"run", "--detach", "--name", "bench-ports", "--publish", portRange(firstPort, count),
			"--volume", b.load + ":/load:ro"}, on(network)...)
		_, err := s.run(ctx, append(args, "busybox", "/load", "serve", ports)...)
		if err != nil {
			return nil, errors.Join(err, s.remove(ctx, "bench-ports"))
		}
		found, err := b.look(ctx, s, ports)
		if err := errors.Join(err, s.remove(ctx, "bench-ports")); err != nil {
			return nil, err
		}
		free, err := count50(ctx, s.host.Machine, b.load, "bind", "tcp", "0.0.0.0", ports)
		return append(found, free), err
	})
}

// look counts the ports of which each promise holds while they are published.
func (b *bench) look(ctx context.Context, s *side, ports string) ([]float64, error) {
	world, host := s.lab.World().Machine, s.host.Machine
	// The first packets wait for the server.
	_ = lab.Until(ctx, serveTime, func() error {
		got, err := count50(ctx, world, b.load, "fetch", host.Addr4.String(), ports)
		if err == nil && got < sampleSize {
			err = errors.New("not all answer yet")
		}
		return err // if it never does, the count below says so
	})
	var found []float64
	for _, from := range []struct {
		machine *lab.Machine
		to      string
	}{{world, host.Addr4.String()}, {world, host.Addr6.String()}, {host, "127.0.0.1"}, {host, "::1"}} {
		n, err := count50(ctx, from.machine, b.load, "fetch", from.to, ports)
		if err != nil {
			return nil, err
		}
		found = append(found, n)
	}
	free, err := count50(ctx, host, b.load, "bind", "tcp", "0.0.0.0", ports)
	return append(found, sampleSize-free), err
}

// count50 runs a command of the load generator that finds ports, and counts them.
func count50(ctx context.Context, m *lab.Machine, command ...string) (float64, error) {
	type found struct{ Good []uint16 }
	got, err := report[found](ctx, m, command...)
	return float64(len(got.Good)), err
}
