package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/linkspan/linkspan/internal/process"
)

const (
	program = "linkspan-keeper"
	// startTime bounds how long a new keeper may take until it answers.
	startTime = 10 * time.Second
	knockTime = 2 * time.Millisecond // between two looks for a keeper's socket
)

// Find returns the path of the keeper's program: beside our own, or else on PATH.
func Find() (string, error) { return process.Find(program) }

// Identify tells one file of a program from another: an installation makes a new
// one. It follows links, also those of /proc/PID/exe.
func Identify(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("%s: no inode", path)
	}
	return fmt.Sprintf("%d.%d.%d.%d", s.Dev, s.Ino, info.Size(), info.ModTime().UnixNano()), nil
}

// launch starts a keeper and waits until it answers. With takeOver it first asks
// the one that is there for everything.
func (k *Keeper) launch(ctx context.Context, takeOver bool) (*session, error) {
	log, err := process.OpenLog(k.o.Log, "the keeper's log")
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the keeper has it
	cmd := k.command(takeOver)
	cmd.Stdout, cmd.Stderr = log, log
	p, err := process.Start(cmd)
	var ended *process.EndedError
	if errors.As(err, &ended) {
		return nil, k.notStarted()
	}
	if err != nil {
		return nil, fmt.Errorf("start the keeper: %w", err)
	}
	k.log.Info(fmt.Sprintf("started the keeper as process %d", p.ID.Pid), "op", "keeper.start")
	if err := moveToCgroup(p.ID.Pid); err != nil {
		k.log.Debug("the keeper stays in the daemon's control group", "op", "keeper.start", "err", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	s, err := k.await(ctx, p)
	if err != nil {
		p.Signal(syscall.SIGKILL)
		return nil, err
	}
	return s, nil
}

// command is how a keeper is started: in the daemon's mount namespace, whose network
// namespaces it must see.
func (k *Keeper) command(takeOver bool) *exec.Cmd {
	args := []string{"--socket", k.o.Socket, "--log-level", k.o.LogLevel}
	if takeOver {
		args = append(args, "--take-over")
	}
	return exec.Command(k.o.Program, args...)
}

func (k *Keeper) notStarted() error {
	return fmt.Errorf("the keeper ended while starting, see %s", k.o.Log)
}

// await connects to the keeper that is process p once it listens.
func (k *Keeper) await(ctx context.Context, p *process.Process) (*session, error) {
	tick := time.NewTicker(knockTime)
	defer tick.Stop()
	for {
		if s, err := dial(ctx, k.o.Socket); err == nil {
			if s.hello.Pid == p.ID.Pid {
				return s, nil
			}
			s.close() //nolint:errcheck // the old keeper, which is about to go
		}
		select {
		case <-p.Done():
			return nil, k.notStarted()
		case <-ctx.Done():
			return nil, fmt.Errorf("the keeper (pid %d) does not answer on %s, see %s: %w", p.ID.Pid, k.o.Socket, k.o.Log, ctx.Err())
		case <-tick.C:
		}
	}
}

// moveToCgroup gives the keeper a control group of its own (cgroups(7), version
// 2), beside all others, if the daemon is in one: what ends the daemon's group, as
// a service manager does, shall not end the keeper. On a host without version 2
// it stays where it is.
func moveToCgroup(pid int) error {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	if slices.Contains(strings.Split(string(own), "\n"), "0::/") {
		return nil // nobody ends that
	}
	for _, root := range cgroupRoots() {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		dir := filepath.Join(root, program)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Appendf(nil, "%d", pid), 0o600)
	}
	return errors.New("no cgroup version 2")
}

// removeCgroup removes it, if no keeper is in it.
func removeCgroup() {
	for _, root := range cgroupRoots() {
		os.Remove(filepath.Join(root, program)) //nolint:errcheck // that it is not there, or in use, is as well
	}
}

// cgroupRoots are where version 2 is mounted: alone, or beside version 1.
func cgroupRoots() []string { return []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} }
