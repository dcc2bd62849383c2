package containerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/process"
)

const (
	backoffFirst = 100 * time.Millisecond
	backoffLast  = 10 * time.Second
	// steady is how long a child must have lived for its next death to count as
	// the first.
	steady = time.Minute
)

// child is a containerd of our own. It outlives the daemon: it has its own
// session, and the next daemon adopts it by the record of its pid and start time
// or, failing that, by who answers on its socket.
type child struct {
	program string
	data    string // DataRoot/containerd
	exec    string // ExecRoot/containerd
	log     *slog.Logger
	// patience is how long an answer to the question whether it is well may take.
	patience time.Duration

	returned chan struct{} // gets a word whenever it was started again
	quit     chan struct{} // closed by release and stop
	quitOnce sync.Once
	gone     chan struct{} // closed when supervision has ended

	mu   sync.Mutex
	proc *process.Process // the one that runs, or the last
}

// startChild returns a containerd that answers on its socket: an adopted one if
// one lives, else a new one. It is watched over until release or stop.
func startChild(ctx context.Context, o Options) (*child, error) {
	c := &child{
		program:  o.Program,
		data:     filepath.Join(o.DataRoot, "containerd"),
		exec:     filepath.Join(o.ExecRoot, "containerd"),
		log:      o.Logger,
		patience: watchTimeout,
		returned: make(chan struct{}, 1),
		quit:     make(chan struct{}),
		gone:     make(chan struct{}),
	}
	if c.program == "" {
		c.program = "containerd"
	}
	if o.Patience != 0 {
		c.patience = o.Patience
	}
	for _, dir := range []string{c.data, c.exec} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("containerd directory: %w", err)
		}
	}
	proc, err := c.adopt()
	if err != nil {
		return nil, err
	}
	adopted := proc != nil
	if !adopted {
		if proc, err = c.launch(); err != nil {
			return nil, err
		}
	}
	c.proc = proc
	if err := c.answers(ctx, proc); err != nil {
		if !adopted { // an adopted one may be busy with somebody's containers
			proc.Signal(unix.SIGKILL)
		}
		return nil, err
	}
	go c.supervise(proc)
	return c, nil
}

func (c *child) socket() string  { return filepath.Join(c.exec, "containerd.sock") }
func (c *child) record() string  { return filepath.Join(c.exec, "containerd.pid") }
func (c *child) logFile() string { return filepath.Join(c.data, "containerd.log") }

// configFile is written by every start of a containerd, and by nothing else.
func (c *child) configFile() string { return filepath.Join(c.exec, "config.toml") }

func (c *child) notStarted() error {
	return fmt.Errorf("containerd ended while starting, see %s", c.logFile())
}

// adopt finds a containerd that an earlier daemon left running; nil if none.
func (c *child) adopt() (*process.Process, error) {
	id, err := process.ReadRecord(c.record())
	if err != nil || !id.Alive() {
		// A daemon killed between starting the child and recording it leaves only
		// the socket to tell.
		pid := socketPeer(c.socket())
		if pid == 0 {
			return nil, nil
		}
		if id, err = process.Identify(pid); err != nil {
			return nil, nil //nolint:nilerr // it died while we looked
		}
	}
	proc, err := process.Follow(id)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("adopt containerd: %w", err)
	}
	c.log.Info(fmt.Sprintf("adopted the containerd that runs as process %d", id.Pid), "op", "containerd.adopt")
	return proc, process.WriteRecord(c.record(), id)
}

// launch starts a new containerd in its own session, so that a signal to the
// daemon's terminal or process group does not reach it. It stays in the daemon's
// mount namespace, whose network namespace files it must see.
func (c *child) launch() (*process.Process, error) {
	config := c.configFile()
	if err := os.WriteFile(config, childConfig(c.data, c.exec), 0o600); err != nil {
		return nil, fmt.Errorf("containerd configuration: %w", err)
	}
	log, err := process.OpenLog(c.logFile(), "containerd's log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(c.program, "--config", config)
	cmd.Stdout, cmd.Stderr = log, log
	proc, err := process.Start(cmd)
	var ended *process.EndedError
	if errors.As(err, &ended) {
		return nil, errors.Join(c.notStarted(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("start containerd: %w", err)
	}
	if err := process.WriteRecord(c.record(), proc.ID); err != nil {
		return nil, errors.Join(err, cmd.Process.Kill())
	}
	c.log.Info(fmt.Sprintf("started containerd as process %d", proc.ID.Pid), "op", "containerd.start")
	return proc, nil
}

// answers waits until the socket accepts connections.
func (c *child) answers(ctx context.Context, proc *process.Process) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if socketPeer(c.socket()) != 0 {
			return nil
		}
		select {
		case <-proc.Done():
			return c.notStarted()
		case <-ctx.Done():
			return fmt.Errorf("containerd (pid %d) does not answer on %s: %w", proc.ID.Pid, c.socket(), ctx.Err())
		case <-tick.C:
		}
	}
}

// supervise starts containerd again whenever it dies or hangs, waiting longer from
// death to death.
func (c *child) supervise(proc *process.Process) {
	defer close(c.gone)
	wait := backoffFirst
	for {
		born := time.Now()
		go c.killHung(proc)
		select {
		case <-c.quit:
			return
		case <-proc.Done():
		}
		if time.Since(born) > steady {
			wait = backoffFirst
		}
		c.log.Warn(fmt.Sprintf("containerd (process %d) died, starting it again in %s", proc.ID.Pid, wait),
			"op", "containerd.restart")
		for proc = nil; proc == nil; wait = min(2*wait, backoffLast) {
			select {
			case <-c.quit:
				return
			case <-time.After(wait):
			}
			next, err := c.launch()
			if err != nil {
				c.log.Error("containerd not started", "op", "containerd.restart", "err", err)
				continue
			}
			proc = next
		}
		c.mu.Lock()
		c.proc = proc
		c.mu.Unlock()
		select {
		case c.returned <- struct{}{}:
		default: // nobody has taken the last word yet
		}
	}
}

// release ends supervision and leaves containerd running.
func (c *child) release() {
	c.quitOnce.Do(func() { close(c.quit) })
	<-c.gone
}

// stop ends supervision and containerd, by SIGKILL once ctx is done.
func (c *child) stop(ctx context.Context) error {
	c.release()
	c.mu.Lock()
	proc := c.proc
	c.mu.Unlock()
	proc.Signal(unix.SIGTERM)
	select {
	case <-proc.Done():
	case <-ctx.Done():
		proc.Signal(unix.SIGKILL)
		<-proc.Done()
	}
	if err := os.Remove(c.record()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove containerd's record: %w", err)
	}
	return nil
}

// socketPeer returns the pid of who listens on a unix socket, zero if nobody
// does.
func socketPeer(path string) int {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	if err != nil {
		return 0
	}
	return pid
}
