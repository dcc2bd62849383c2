package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// lockName is an abstract socket (unix(7)): the kernel keeps one of the name in
// each network namespace, and lets go of it when its process ends, however.
const lockName = "@linkspand"

// beAlone makes sure that no other engine manages this network namespace:
// neither another linkspand nor a dockerd, which would both want docker0.
func beAlone() (io.Closer, error) {
	lock, err := net.Listen("unix", lockName)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, errors.New("another linkspand manages this network namespace: only one can")
	}
	if err != nil {
		return nil, fmt.Errorf("lock this network namespace: %w", err)
	}
	if pid := dockerd(); pid != 0 {
		return nil, errors.Join(fmt.Errorf("dockerd (process %d) manages this network namespace: stop it first, both would want docker0", pid), lock.Close())
	}
	return lock, nil
}

// dockerd returns the process ID of a dockerd in this network namespace, or 0.
func dockerd() int {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return 0
	}
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err != nil || strings.TrimSpace(string(comm)) != "dockerd" {
			continue
		}
		dir := filepath.Dir(name)
		if theirs, err := os.Readlink(dir + "/ns/net"); err == nil && theirs == own {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			return pid
		}
	}
	return 0
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
