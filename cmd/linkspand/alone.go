package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/linkspan/linkspan/internal/limits"
)

const (
	// lockName is an abstract socket (unix(7)): the kernel keeps one of the name in
	// each network namespace, and lets go of it when its process ends, however.
	// Anybody in the namespace may take such a name. So who holds it is looked at,
	// and there are others.
	lockName = "@linkspand"
	// lockNames is how many names there are.
	lockNames = 8
	// capNetAdmin is the bit of capabilities(7) without which nobody manages a
	// network namespace.
	capNetAdmin = 12
)

// beAlone makes sure that no other engine manages this network namespace:
// neither another linkspand nor a dockerd, which would both want docker0.
func beAlone(log *slog.Logger) (io.Closer, error) {
	var lock net.Listener
	for i := range lockNames {
		name := lockName
		if i > 0 {
			name += "." + strconv.Itoa(i)
		}
		taken := lock != nil
		if !taken {
			l, err := net.Listen("unix", name)
			if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
				return nil, fmt.Errorf("lock this network namespace: %w", err)
			}
			if lock = l; err == nil {
				continue
			}
		}
		switch who, honest := holder(name); {
		case honest:
			return nil, errors.Join(fmt.Errorf("another linkspand (%s) manages this network namespace: only one can", who), release(lock))
		case who != "":
			log.Warn("somebody holds the name of our lock who is no linkspand", "op", "daemon.start", "name", name, "who", who)
		}
	}
	if lock == nil {
		log.Warn("every name of our lock is held by somebody else: another linkspand in this network namespace would not be noticed", "op", "daemon.start")
	}
	if pid := dockerd(); pid != 0 {
		return nil, errors.Join(fmt.Errorf("dockerd (process %d) manages this network namespace: stop it first, both would want docker0", pid), release(lock))
	}
	if lock != nil {
		go greet(lock)
	}
	return closer{lock}, nil
}

// greet takes connections and closes them, until the listener is closed: a queue that
// is full would hide who listens.
func greet(l net.Listener) {
	var lack limits.Outage
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors, for one
			lack.Wait(nil, err)
		default:
			lack.Over()
			conn.Close()
		}
	}
}

// closer closes a listener if there is one.
type closer struct{ net.Listener }

// Close implements io.Closer.
func (c closer) Close() error { return release(c.Listener) }

func release(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// holder says who holds an abstract name, empty if nobody does, and whether it may
// well be a linkspand: one that listens, is root's, and may manage networks. A
// container on the host's network is not, unless it is privileged.
func holder(name string) (who string, honest bool) {
	conn, err := net.Dial("unix", name)
	if err != nil {
		// Nobody is there, or somebody who does not listen: that is no linkspand. Only
		// the kernel's list tells the two apart.
		return squatter(name), false
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return "unknown", false
	}
	var cred *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil || failed != nil {
		return "unknown", false
	}
	if cred.Pid == 0 { // in a process namespace that we do not see
		return fmt.Sprintf("a process of user %d that is not seen from here", cred.Uid), cred.Uid == 0
	}
	return fmt.Sprintf("process %d of user %d", cred.Pid, cred.Uid), cred.Uid == 0 && manages(int(cred.Pid), "linkspand")
}

// squatter says that an abstract name is held by a socket that nobody can connect to.
func squatter(name string) string {
	sockets, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(sockets)) {
		if fields := strings.Fields(line); len(fields) == 8 && fields[7] == name {
			return "a socket that does not listen"
		}
	}
	return ""
}

// manages tells whether a process runs that program, is root's, and may manage the
// network namespace that we are in. Anybody may call a process as he likes.
func manages(pid int, program string) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	comm, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil || strings.TrimSpace(string(comm)) != program {
		return false
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return false
	}
	if theirs, err := os.Readlink(filepath.Join(dir, "ns/net")); err != nil || theirs != own {
		return false
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	return err == nil && mayManage(string(status))
}

// mayManage reads a status file (proc_pid_status(5)).
func mayManage(status string) bool {
	root, able := false, false
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		words := strings.Fields(value)
		switch {
		case len(words) == 0:
		case key == "Uid" && len(words) == 4:
			root = words[1] == "0" // the effective one
		case key == "CapEff":
			bits, err := strconv.ParseUint(words[0], 16, 64)
			able = err == nil && bits>>capNetAdmin&1 == 1
		}
	}
	return root && able
}

// dockerd returns the process ID of a dockerd in this network namespace, or 0.
func dockerd() int {
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, name := range names {
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && manages(pid, "dockerd") {
			return pid
		}
	}
	return 0
}

// lockFolder makes this the only daemon that uses the folder, until the file is
// closed. Its children do not inherit it.
func lockFolder(dir string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Join(dir, "linkspand.lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("another linkspand uses %s: give this one a folder of its own with --exec-root", dir), f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// writePidfile writes the process ID to path and returns what removes it again.
func writePidfile(path string) (remove func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if raw, err := os.ReadFile(path); err == nil {
		pid, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if pid != os.Getpid() && err == nil && strings.TrimSpace(string(comm)) == "linkspand" {
			return nil, fmt.Errorf("process %d is still running: delete %s if it is no linkspand", pid, path)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return nil, err
	}
	return func() { os.Remove(path) }, nil
}
