package dockerapi

import (
	"context"
	"crypto/tls"
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
	"syscall"
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

// maxInherited bounds how many it passes on.
const maxInherited = 1024

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

// Access says who may use the sockets of the API: whoever can is the machine's master.
type Access struct {
	// Group may use unix sockets, by its name or number; empty: root alone. DefaultGroup need not exist.
	Group string
	// Certificates are what TCP is served with; nil: without TLS.
	Certificates *Certificates
	// Insecure lets whoever comes use TCP sockets that only this machine reaches. Others, and without it all, are refused
	// unless clients are verified.
	Insecure bool
}

// DefaultGroup is the group of the API's socket if there is such a group.
const DefaultGroup = "docker"

// Listen opens what one --host flag names: unix:///path, tcp://address:port, or
// fd:// for the sockets that systemd opened, fd://N for one of them. A unix
// socket gets mode 0660 and the group; a socket file that nobody listens on any
// more is replaced. Those of systemd have the mode and owner that it gave them.
func Listen(host string, access Access) ([]net.Listener, error) {
	proto, address, ok := strings.Cut(host, "://")
	if !ok {
		return nil, fmt.Errorf("invalid host %q: want unix://, tcp:// or fd://", host)
	}
	switch proto {
	case "unix":
		l, err := listenUnix(address, access.Group)
		return opened(l, err)
	case "tcp":
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		return opened(access.secure(l))
	case "fd":
		return inherited(address, access)
	}
	return nil, fmt.Errorf("invalid host %q: protocol %q is not known", host, proto)
}

func opened(l net.Listener, err error) ([]net.Listener, error) {
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

// secure returns a listener as it may be served, or closes it and says why not. What it is asked about is where the
// socket is bound, whatever its name was.
func (a Access) secure(l net.Listener) (net.Listener, error) {
	at, tcp := l.Addr().(*net.TCPAddr)
	if !tcp {
		return l, nil
	}
	if !a.Certificates.verifies() && !(a.Insecure && at.IP.IsLoopback()) {
		return nil, errors.Join(fmt.Errorf("%s: without --tlsverify whoever reaches it would be root of this machine: give --tlsverify, or --insecure and an address of this machine alone", at), l.Close())
	}
	if a.Certificates == nil {
		return l, nil
	}
	return tls.NewListener(l, a.Certificates.config()), nil
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
	gid, err := groupID(group)
	if err != nil {
		return err
	}
	if gid >= 0 {
		if err := os.Chown(path, -1, gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, 0o660)
}

// groupID returns the number of a group, or -1 for none: DefaultGroup need not be there.
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	g, err := user.LookupGroup(group)
	if err == nil {
		return strconv.Atoi(g.Gid)
	}
	if number, bad := strconv.ParseUint(group, 10, 31); bad == nil {
		return int(number), nil
	}
	if group == DefaultGroup && errors.As(err, new(user.UnknownGroupError)) {
		return -1, nil
	}
	return -1, fmt.Errorf("group %s not found: make it, or name another with --group", group)
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
// them by its number. Programs that the daemon starts get none.
func inherited(which string, access Access) ([]net.Listener, error) {
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if pid := os.Getenv("LISTEN_PID"); err != nil || count < 1 || count > maxInherited || pid != strconv.Itoa(os.Getpid()) {
		return nil, errors.New("no sockets found via socket activation: make sure the service was started by systemd (LISTEN_FDS, LISTEN_PID)")
	}
	var out []net.Listener
	var failed []error
	for fd := firstInherited; fd < firstInherited+count; fd++ {
		syscall.CloseOnExec(fd)
		if which != "" && which != "*" && which != strconv.Itoa(fd) {
			continue
		}
		l, err := takeOver(fd, access)
		if err != nil {
			failed = append(failed, fmt.Errorf("socket %d: %w", fd, err))
			continue
		}
		out = append(out, l)
	}
	switch {
	case len(failed) > 0:
		for _, l := range out {
			l.Close()
		}
		return nil, errors.Join(failed...)
	case len(out) == 0:
		return nil, fmt.Errorf("systemd passed no socket %q", which)
	}
	return out, nil
}

// takeOver returns a copy of a socket, and closes it.
func takeOver(fd int, access Access) (net.Listener, error) {
	file := os.NewFile(uintptr(fd), "listen-fd-"+strconv.Itoa(fd))
	l, err := net.FileListener(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return access.secure(l)
}
