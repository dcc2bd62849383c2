package dockerapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/limits"
)

// Deadlines of a connection.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 5 * time.Minute
	// closingGrace is how long requests under way may take once the daemon ends.
	closingGrace = 5 * time.Second
	// probeTimeout is how long a socket file is given to prove that it is in use.
	probeTimeout = time.Second
)

// maxHeader is the longest header of a request in bytes.
const maxHeader = 256 << 10

// firstInherited is the first socket that systemd passes on (sd_listen_fds(3)).
const firstInherited = 3

// Serve answers on all listeners until ctx ends, and closes them. Requests under
// way then have five seconds; endless answers are cut at once.
func Serve(ctx context.Context, h http.Handler, log *slog.Logger, listeners ...net.Listener) error {
	base, cancel := context.WithCancel(httpkit.WithClosing(context.WithoutCancel(ctx), ctx))
	defer cancel()
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, WriteTimeout: httpkit.WritePatience,
		MaxHeaderBytes: maxHeader,
		BaseContext:    func(net.Listener) context.Context { return base },
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, len(listeners))
	var serving sync.WaitGroup
	for _, l := range listeners {
		l = limits.Patient(l, &limits.Outage{Logger: log, Op: "api.accept", What: "the API at " + l.Addr().String()})
		serving.Go(func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), closingGrace)
	defer stop()
	if server.Shutdown(grace) != nil {
		cancel()
		err = errors.Join(err, server.Close())
	}
	serving.Wait()
	return err
}

// Listen opens what one --host flag names: unix:///path, tcp://address:port, or
// fd:// for the sockets that systemd opened, fd://N for one of them. A unix
// socket gets mode 0660 and the given group if there is such a group; a socket
// file that nobody listens on any more is replaced.
func Listen(host, group string) ([]net.Listener, error) {
	proto, address, ok := strings.Cut(host, "://")
	if !ok {
		return nil, fmt.Errorf("invalid host %q: want unix://, tcp:// or fd://", host)
	}
	switch proto {
	case "unix":
		l, err := listenUnix(address, group)
		return []net.Listener{l}, err
	case "tcp":
		l, err := net.Listen("tcp", address)
		return []net.Listener{l}, err
	case "fd":
		return inherited(address)
	}
	return nil, fmt.Errorf("invalid host %q: protocol %q is not known", host, proto)
}

func listenUnix(path, group string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := own(path, group); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// own lets root and the group use a socket. Without the group it is root's.
func own(path, group string) error {
	if g, err := user.LookupGroup(group); err == nil {
		gid, err := strconv.Atoi(g.Gid)
		if err != nil {
			return fmt.Errorf("group %s: %w", group, err)
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, 0o660)
}

// removeStale removes a socket that a dead daemon left. It refuses to take one
// away from a daemon that lives, and never removes another kind of file.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%s is there and is not a socket", path)
	}
	if conn, err := net.DialTimeout("unix", path, probeTimeout); err == nil {
		return errors.Join(fmt.Errorf("another daemon listens on %s", path), conn.Close())
	}
	return os.Remove(path)
}

// inherited returns the sockets that systemd passed to this process, or one of
// them by its number.
func inherited(which string) ([]net.Listener, error) {
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if pid := os.Getenv("LISTEN_PID"); err != nil || count < 1 || pid != strconv.Itoa(os.Getpid()) {
		return nil, errors.New("no sockets were passed by systemd (LISTEN_FDS, LISTEN_PID)")
	}
	var out []net.Listener
	for fd := firstInherited; fd < firstInherited+count; fd++ {
		if which != "" && which != strconv.Itoa(fd) {
			continue
		}
		file := os.NewFile(uintptr(fd), "listen-fd-"+strconv.Itoa(fd))
		l, err := net.FileListener(file)
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, fmt.Errorf("socket %d: %w", fd, err)
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("systemd passed no socket %q", which)
	}
	return out, nil
}
