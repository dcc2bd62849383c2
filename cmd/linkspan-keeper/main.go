// Linkspan-keeper holds what must not die with the daemon: the DNS servers of
// sandboxes, the readers of what containers print, and host ports. linkspand starts it and
// tells it what to do; it goes on while there is no daemon.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/linkspan/linkspan/internal/dhcp"
	"github.com/linkspan/linkspan/internal/hostports"
	"github.com/linkspan/linkspan/internal/keeper"
	"github.com/linkspan/linkspan/internal/keeper/serve"
	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/kernel/guard"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/sockets"
	"github.com/linkspan/linkspan/internal/output"
	"github.com/linkspan/linkspan/internal/portsocket"
	"github.com/linkspan/linkspan/internal/resolver"
	"github.com/linkspan/linkspan/internal/resolver/upstream"
	"github.com/linkspan/linkspan/internal/userproxy"
	"github.com/linkspan/linkspan/internal/wireguard"
)

// version is set when the program is built.
var version = "dev"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "linkspan-keeper:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	socket   string
	level    string
	takeOver bool
}

func run(args []string) error {
	flags := pflag.NewFlagSet("linkspan-keeper", pflag.ContinueOnError)
	var s settings
	flags.StringVar(&s.socket, "socket", "", "unix socket to answer on")
	flags.StringVar(&s.level, "log-level", "info", "debug, info, warn or error")
	flags.BoolVar(&s.takeOver, "take-over", false, "take over from the keeper that answers there")
	show := flags.Bool("version", false, "print the version and end")
	if err := flags.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if *show {
		fmt.Println("linkspan-keeper version", version)
		return nil
	}
	if s.socket == "" {
		return errors.New("--socket is needed: linkspand starts this program by itself")
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.level)); err != nil {
		return fmt.Errorf("invalid log level %q: use debug, info, warn or error", s.level)
	}
	// Whoever reads the log may go before we do.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return keep(ctx, s, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
}

// keep serves until there is nothing to keep, or another keeper has taken over.
func keep(ctx context.Context, s settings, log *slog.Logger) error {
	host, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return err
	}
	defer host.Close()
	namespaces := netns.New(netns.Options{Host: host, Logger: log})
	defer namespaces.Close()
	names := resolver.New(resolver.Options{
		Opener: sockets.Opener{Namespaces: namespaces}, HostServers: upstream.NewHostFile("/etc/resolv.conf").Servers, Logger: log,
	})
	outputs := output.New(output.Options{Logger: log})
	table := portsocket.NewTable()
	proxy := userproxy.New(userproxy.Options{Logger: log, Sockets: table})
	ports := hostports.New(hostports.Options{Logger: log, Sockets: table, Proxy: proxy})
	firewall := guard.New(guard.Options{Open: openFirewall(log), Hold: openHold(log), Logger: log})
	leases := dhcp.New(dhcp.Options{File: filepath.Join(filepath.Dir(s.socket), "leases.json"), Logger: log})
	tunnels := wireguard.New(wireguard.Options{Namespaces: sockets.Opener{Namespaces: namespaces}, Logger: log})
	e := &estate{tunnels: tunnels, leases: leases, names: names, ports: ports, proxy: proxy, outputs: outputs, firewall: firewall, log: log}
	defer func() { e.close(ctx) }()
	program, err := keeper.Identify("/proc/self/exe")
	if err != nil {
		return err
	}
	server := serve.New(serve.Options{
		Rows: rows{names, proxy, tunnels, firewall}, Guard: guardian{firewall}, Ports: ports, Outputs: outputs, Follower: follower{outputs}, Estate: e, Leases: leases, Logger: log,
		Queries: func() wire.Queries { return queries(names.Stats()) },
		Hello:   wire.Hello{Version: wire.Version, Program: program, Pid: os.Getpid(), Release: version},
	})
	l, err := begin(s, server, log)
	if err != nil {
		return err
	}
	if !s.takeOver {
		e.resumeLeases()
	}
	log.Info("ready", "op", "keeper.start", "version", version)
	return server.Serve(ctx, l)
}

// begin takes over, if asked to, and listens. The old keeper ends only when
// everything is served here.
func begin(s settings, server *serve.Server, log *slog.Logger) (*net.UnixListener, error) {
	if !s.takeOver {
		return listen(s.socket)
	}
	i, err := serve.Inherit(s.socket)
	if err != nil {
		return nil, err
	}
	if err := server.Adopt(i); err != nil { // what is missing the daemon will repair
		log.Error("not everything was taken over", "op", "keeper.adopt", "err", err)
	}
	l, err := listen(s.socket)
	if err != nil {
		return nil, err
	}
	if err := i.Taken(); err != nil {
		log.Warn("the old keeper was not told", "op", "keeper.adopt", "err", err)
	}
	return l, nil
}

// listen opens the socket, in place of one that is there: a connection finds
// either the old or the new one.
func listen(path string) (*net.UnixListener, error) {
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the name may be the next keeper's by then
	if err := errors.Join(os.Chmod(fresh, 0o600), os.Rename(fresh, path)); err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(fresh))
	}
	return l, nil
}
