// Command netplugin-conformance checks plugins for networks, and engines that use them,
// and prints a report of each. A plugin is described by a JSON file
// (conformance/netplugin.Plugin).
//
// With -serve it is itself the plugin of an engine, which it judges until it is
// interrupted; with -before it hands all calls on to a plugin behind another socket.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/linkspan/linkspan/conformance/netplugin"
	"github.com/linkspan/linkspan/conformance/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	status, err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "netplugin-conformance:", err)
		status = 2
	}
	os.Exit(status)
}

func run(ctx context.Context) (status int, err error) {
	var flags report.Flags
	flags.Declare()
	socket := flag.String("serve", "", "be a plugin at this socket and judge the engine that uses it, until interrupted")
	before := flag.String("before", "", "with -serve: the socket of a plugin that does what the engine asks for")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: netplugin-conformance [-all] [-json] [-strict] [-only PREFIX] PLUGIN.json…\n       netplugin-conformance [-all] [-json] [-strict] -serve SOCKET [-before SOCKET]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *socket != "" && flag.NArg() == 0 {
		results, err := serve(ctx, *socket, *before)
		if err != nil {
			return 0, err
		}
		return flags.Print(os.Stdout, "engine", results)
	}
	if flag.NArg() == 0 {
		flag.Usage()
		return 2, nil
	}
	return flags.PrintEach(os.Stdout, flag.Args(), func(file string) (string, []report.Result, error) {
		p, err := read(file)
		if err != nil {
			return "", nil, err
		}
		results, err := netplugin.Run(ctx, p, flags.Only)
		return p.Name, results, err
	})
}

func read(file string) (p netplugin.Plugin, err error) {
	if err := report.Read(file, &p); err != nil {
		return p, err
	}
	if p.Name == "" || p.Socket == "" {
		return p, fmt.Errorf("%s: Name and Socket must be there", file)
	}
	return p, nil
}

// Times of the plugin that an engine is judged by.
const (
	headerTime = 10 * time.Second
	idleTime   = time.Minute
)

// serve judges an engine until ctx ends.
func serve(ctx context.Context, socket, before string) ([]report.Result, error) {
	var next http.Handler
	if before != "" {
		proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "plugin.moby.localhost"})
		proxy.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", before)
		}}
		next = proxy
	}
	checker := netplugin.NewChecker(next)
	var c net.ListenConfig
	l, err := c.Listen(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: checker, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, IdleTimeout: idleTime}
	done := context.AfterFunc(ctx, func() { s.Close() }) //nolint:errcheck // Serve says how it ended
	defer done()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return nil, err
	}
	return checker.Results(true), nil
}
