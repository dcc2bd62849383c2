package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkspan/linkspan/lab"
)

const (
	greetPort   = "8080" // of the container that serves
	iperfPort   = "5201"
	streamTime  = "2"             // seconds of one throughput measurement
	connectTime = 1 * time.Second // of one measurement of the connection rate
	rounds      = 3

	openNetwork     = "bench" // of server and client
	internalNetwork = "bench-internal"
)

// way is how a client comes to a published port.
type way struct {
	name    string
	machine *lab.Machine
	prefix  []string // what enters the client's network namespace
	host    string   // where it finds the port
	// greet and iperf are the ports of the servers there, if they are not greetPort and iperfPort.
	greet, iperf string
}

// traffic compares packets: between containers, and through published ports.
func traffic(ctx context.Context, b *bench) error {
	for _, s := range b.sides() {
		defer s.clear()
		if err := s.serve(ctx, b.load); err != nil {
			return err
		}
	}
	for _, between := range []struct{ what, network string }{
		{"throughput, container to container", openNetwork},
		{"throughput, container to container, internal network", internalNetwork},
	} {
		b.measure(ctx, row{what: between.what, unit: "Gbit/s", target: ratioAtLeast(1.25)}, rounds,
			func(ctx context.Context, s *side) (float64, error) {
				w, err := s.toContainer(ctx, between.network)
				if err != nil {
					return 0, err
				}
				return w.stream(ctx)
			})
	}
	for i, name := range []string{"from outside", "by localhost", "hairpin"} {
		var t target
		if name == "by localhost" {
			t = ratioAtLeast(1.4)
		}
		b.measure(ctx, row{what: "throughput, published port, " + name, unit: "Gbit/s", target: t}, rounds,
			func(ctx context.Context, s *side) (float64, error) { return s.ways(ctx)[i].stream(ctx) })
	}
	for i, name := range []string{"from outside", "by localhost", "hairpin"} {
		b.measure(ctx, row{what: "connections, published port, " + name, unit: "1/s"}, rounds,
			func(ctx context.Context, s *side) (float64, error) { return s.ways(ctx)[i].connections(ctx, b.load) })
	}
	return errors.Join(b.amongOthers(ctx), b.respecting(ctx))
}

// serve starts a server with published ports, and a client beside it, on a network of their own and on an internal one.
func (s *side) serve(ctx context.Context, load string) error {
	if _, err := s.run(ctx, "network", "create", openNetwork); err != nil {
		return err
	}
	if _, err := s.run(ctx, "network", "create", "--internal", internalNetwork); err != nil {
		return err
	}
	_, err := s.run(ctx, "run", "--detach", "--name", "bench-server", "--network", openNetwork,
		"--publish", greetPort+":"+greetPort, "--publish", iperfPort+":"+iperfPort, "--volume", load+":/load:ro",
		"tools", "sh", "-c", "iperf3 --server >/dev/null & exec /load serve "+greetPort)
	if err != nil {
		return err
	}
	_, err = s.run(ctx, "run", "--detach", "--name", "bench-client", "--network", openNetwork, "busybox", "sleep", "3600")
	for _, name := range []string{"bench-server", "bench-client"} {
		if err == nil {
			_, err = s.run(ctx, "network", "connect", internalNetwork, name)
		}
	}
	return err
}

// clear removes what serve made, as far as it is there.
func (s *side) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	_ = s.remove(ctx, "bench-server", "bench-client") // down reports what is left
	_, _ = s.run(ctx, "network", "rm", openNetwork, internalNetwork)
}

// ways are from outside, by localhost and hairpin: from a container of the same network to the host's address.
func (s *side) ways(ctx context.Context) [3]way {
	at, host := s.host.Addr4.String(), s.host.Machine
	in, err := s.inside(ctx, "bench-client")
	if err != nil {
		in = []string{"false"} // and the measurement fails
	}
	return [3]way{
		{name: "from outside", machine: s.lab.World().Machine, host: at},
		{name: "by localhost", machine: host, host: "127.0.0.1"},
		{name: "hairpin", machine: host, prefix: in, host: at},
	}
}

// toContainer is the way from the client to the server's own address on a network.
func (s *side) toContainer(ctx context.Context, network string) (way, error) {
	in, err := s.inside(ctx, "bench-client")
	if err != nil {
		return way{}, err
	}
	at, err := s.host.Docker(ctx, "inspect", "--format", `{{(index .NetworkSettings.Networks "`+network+`").IPAddress}}`, "bench-server")
	return way{name: "direct", machine: s.host.Machine, prefix: in, host: at}, err
}

// command is args, entered into the client's namespace.
func (w way) command(args ...string) []string {
	return append(append([]string(nil), w.prefix...), args...)
}

// stream is the throughput of one TCP stream, as received, in Gbit/s.
func (w way) stream(ctx context.Context) (float64, error) {
	type iperf struct {
		Error string `json:"error"`
		End   struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	var got iperf
	err := lab.Until(ctx, serveTime, func() (err error) {
		got, err = report[iperf](ctx, w.machine,
			w.command("iperf3", "--json", "--client", w.host, "--port", cmp.Or(w.iperf, iperfPort), "--time", streamTime)...)
		if err == nil && got.Error != "" {
			err = errors.New(got.Error)
		}
		return err
	})
	return got.End.Received.BitsPerSecond / 1e9, err
}

// connections is how many a second are made and greeted.
func (w way) connections(ctx context.Context, load string) (float64, error) {
	type made struct {
		Made    int
		Failed  int
		Seconds float64
	}
	got, err := report[made](ctx, w.machine,
		w.command(load, "connect", "-for", connectTime.String(), w.host+":"+cmp.Or(w.greet, greetPort))...)
	if err != nil {
		return 0, err
	}
	if got.Made == 0 || got.Failed > got.Made/100 {
		return 0, fmt.Errorf("%s: %d connections made, %d failed", w.name, got.Made, got.Failed)
	}
	return float64(got.Made) / got.Seconds, nil
}

// amongOthers measures ours with one and with 10 000 other ports published, by turns, and prints how they relate.
func (b *bench) amongOthers(ctx context.Context) error {
	s := b.linkspan
	var rates, streams [3][][]float64
	for range rounds {
		before, err := b.passes(ctx, s)
		if err != nil {
			return err
		}
		if err := s.publishOthers(ctx); err != nil {
			return err
		}
		after, err := b.passes(ctx, s)
		if err := errors.Join(err, s.remove(ctx, "bench-others")); err != nil {
			return err
		}
		for i := range 3 {
			rates[i] = append(rates[i], []float64{after[i][0] / before[i][0]})
			streams[i] = append(streams[i], []float64{after[i][1] / before[i][1]})
		}
	}
	for i, w := range s.ways(ctx) {
		b.table.add(row{what: "connections, 10 000 others / one, " + w.name, unit: "x", target: atLeast(0.95),
			linkspan: median(rates[i], 0, nil), docker: figure{err: errNotRun}})
	}
	for i, w := range s.ways(ctx) {
		b.table.add(row{what: "throughput, 10 000 others / one, " + w.name, unit: "x",
			linkspan: median(streams[i], 0, nil), docker: figure{err: errNotRun}})
	}
	return nil
}

// respecting measures ours from outside with ports that the host's own firewall judges, which are served from sockets, and as
// usual, by turns, and prints how they relate.
func (b *bench) respecting(ctx context.Context) (err error) {
	const network, server = "bench-respect", "bench-respected"
	s := b.linkspan
	if _, err := s.run(ctx, "network", "create", "--opt", "com.linkspan.firewall.respect=host", network); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, s.remove(ctx, server))
		_, gone := s.run(ctx, "network", "rm", network)
		err = errors.Join(err, gone)
	}()
	usual := way{name: "from outside", machine: s.lab.World().Machine, host: s.host.Addr4.String()}
	judged := usual
	judged.greet, judged.iperf = "8088", "5208"
	if _, err := s.run(ctx, "run", "--detach", "--name", server, "--network", network, "--publish", judged.greet+":"+greetPort,
		"--publish", judged.iperf+":"+iperfPort, "--volume", b.load+":/load:ro",
		"tools", "sh", "-c", "iperf3 --server >/dev/null & exec /load serve "+greetPort); err != nil {
		return err
	}
	var rates, streams [][]float64
	for range rounds {
		var found [2][2]float64
		for i, w := range []way{usual, judged} {
			if found[i][1], err = w.stream(ctx); err != nil { // waits until it serves
				return err
			}
			if found[i][0], err = w.connections(ctx, b.load); err != nil {
				return err
			}
		}
		rates = append(rates, []float64{found[1][0] / found[0][0]})
		streams = append(streams, []float64{found[1][1] / found[0][1]})
	}
	b.table.add(row{what: "connections, firewall.respect=host / usual, from outside", unit: "x",
		linkspan: median(rates, 0, nil), docker: figure{err: errNotRun}})
	b.table.add(row{what: "throughput, firewall.respect=host / usual, from outside", unit: "x",
		linkspan: median(streams, 0, nil), docker: figure{err: errNotRun}})
	return nil
}

// passes are connection rate and throughput by all ways.
func (b *bench) passes(ctx context.Context, s *side) (found [3][2]float64, err error) {
	for i, w := range s.ways(ctx) {
		if found[i][0], err = w.connections(ctx, b.load); err != nil {
			return found, err
		}
		if found[i][1], err = w.stream(ctx); err != nil {
			return found, err
		}
	}
	return found, nil
}
