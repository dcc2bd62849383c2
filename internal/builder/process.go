package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
	"github.com/linkspan/linkspan/internal/process"
)

const (
	program = "linkspan-buildkitd"
	// startTime bounds how long it may take until it answers: it may have to clear up first.
	startTime = time.Minute
	// stopTime is how long it may take to end its steps.
	stopTime  = 15 * time.Second
	knockTime = 5 * time.Millisecond // between two looks for its socket
)

// Launcher starts the program.
type Launcher struct {
	Log      string // file for what it writes
	LogLevel string
	TempDir  string
	Logger   *slog.Logger
}

// Launch starts the program and waits until it answers.
func (l Launcher) Launch(ctx context.Context, c wire.Config) (Process, error) {
	path, err := process.Find(program)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(c.Socket), 0o700), os.MkdirAll(l.TempDir, 0o700)); err != nil {
		return nil, err
	}
	if err := os.Remove(c.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	log, err := process.OpenLog(l.Log, "the builder's log")
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the program has it
	cmd := exec.Command(path, "--log-level", l.LogLevel)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, environment(l.TempDir, c)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p, err := process.Start(cmd)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	child := &child{p, in}
	l.Logger.Info(fmt.Sprintf("started the builder as process %d", p.ID.Pid), "op", "build.start")
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := child.begin(ctx, c); err != nil {
		child.Stop(ctx)
		return nil, fmt.Errorf("%w, see %s", err, l.Log)
	}
	return child, nil
}

// environment is what the program has of the daemon's environment, with the proxies by
// which it fetches what a Dockerfile adds.
func environment(temp string, c wire.Config) []string {
	out := []string{"TMPDIR=" + temp}
	for name, value := range map[string]string{"HTTP_PROXY": c.Registries.HTTPProxy, "HTTPS_PROXY": c.Registries.HTTPSProxy, "NO_PROXY": c.Registries.NoProxy} {
		if value != "" {
			out = append(out, name+"="+value)
		}
	}
	for _, name := range []string{"PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "GOMAXPROCS", "GOMEMLIMIT", "GOGC"} {
		if value, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+value)
		}
	}
	return out
}

// child is the program while it runs. It lives for as long as its standard input.
type child struct {
	*process.Process
	in io.WriteCloser
}

// begin tells it what to do, and waits until it answers.
func (c *child) begin(ctx context.Context, config wire.Config) error {
	if err := json.NewEncoder(c.in).Encode(config); err != nil {
		return fmt.Errorf("the builder ended while starting: %w", err)
	}
	tick := time.NewTicker(knockTime)
	defer tick.Stop()
	for {
		if conn, err := new(net.Dialer).DialContext(ctx, "unix", config.Socket); err == nil {
			return conn.Close()
		}
		select {
		case <-c.Done():
			return errors.New("the builder ended while starting")
		case <-ctx.Done():
			return fmt.Errorf("the builder does not answer: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// Stop implements Process.
func (c *child) Stop(ctx context.Context) {
	c.in.Close() //nolint:errcheck // it may have ended by itself
	c.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	select {
	case <-c.Done():
	case <-ctx.Done():
		c.Signal(syscall.SIGKILL)
		<-c.Done()
	}
}
