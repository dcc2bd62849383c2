// Command load makes traffic inside the network namespaces of a lab, and prints what became of it as one line of JSON.
// It must not be run outside a lab: it asks and serves as fast as it can.
//
//	load serve PORT,PORT…                   accept TCP connections, greet each with one byte, until killed
//	load connect [-for 1s] [-clients 8] HOST:PORT   connect, await the byte, reset, and again
//	load fetch HOST PORT,PORT…              connect to each port once
//	load bind tcp|udp HOST PORT,PORT…       try to take each port, as another program would
//	load dns [-for 2s] [-rate N] [-unique] SERVER:PORT NAME   ask for the A record over and over
//	load dns-server HOST:PORT               answer every question for an A record, until killed
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxTime bounds everything but the servers.
const maxTime = time.Minute

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// run is the command whose name comes first.
func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say what: serve, connect, fetch, bind, dns, dns-server")
	}
	what, flags := args[0], flag.NewFlagSet(args[0], flag.ContinueOnError)
	length := flags.Duration("for", time.Second, "how long")
	clients := flags.Int("clients", 8, "how many at a time")
	rate := flags.Int("rate", 0, "questions per second; 0: as many as are answered")
	unique := flags.Bool("unique", false, "put another label before the name each time")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if *length > maxTime {
		return fmt.Errorf("at most %s", maxTime)
	}
	rest := flags.Args()
	switch {
	case what == "serve" && len(rest) == 1:
		return serve(ctx, rest[0])
	case what == "dns-server" && len(rest) == 1:
		return serveDNS(ctx, rest[0])
	case what == "connect" && len(rest) == 1:
		return show(connect(ctx, rest[0], *length, *clients))
	case what == "fetch" && len(rest) == 2:
		return show(fetch(ctx, rest[0], rest[1]))
	case what == "bind" && len(rest) == 3:
		return show(bind(rest[0], rest[1], rest[2]))
	case what == "dns" && len(rest) == 2:
		return show(ask(ctx, questions{server: rest[0], name: rest[1], length: *length, rate: *rate, unique: *unique}))
	}
	return fmt.Errorf("%s: see the package's comment for how it is used", strings.Join(args, " "))
}

// show writes a report, unless there was an error.
func show[T any](report T, err error) error {
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// portList reads "80,443".
func portList(text string) ([]uint16, error) {
	var ports []uint16
	for _, word := range strings.Split(text, ",") {
		port, err := strconv.ParseUint(word, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("port %q: %w", word, err)
		}
		ports = append(ports, uint16(port))
	}
	return ports, nil
}
