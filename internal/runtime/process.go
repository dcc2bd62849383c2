package runtime

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// identity names a process for good: pids are used again, but not within one
// boot together with the start time.
type identity struct {
	pid   int
	start uint64 // clock ticks after boot, field 22 of /proc/<pid>/stat (proc_pid_stat(5))
	boot  string // /proc/sys/kernel/random/boot_id
}

// identify returns the identity of a live process.
func identify(pid int) (identity, error) {
	start, err := startTime(pid)
	if err != nil {
		return identity{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return identity{}, fmt.Errorf("boot id: %w", err)
	}
	return identity{pid: pid, start: start, boot: strings.TrimSpace(string(boot))}, nil
}

// alive tells whether the very process still is.
func (id identity) alive() bool {
	now, err := identify(id.pid)
	return err == nil && now == id
}

// startTime reads field 22 of /proc/<pid>/stat; a zombie counts as dead.
func startTime(pid int) (uint64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("process %d: %w", pid, err)
	}
	return parseStat(string(raw))
}

// parseStat takes the start time out of a stat line. The second field is the
// program's name in parentheses and may itself contain spaces and parentheses:
// what follows the last one is safe to split.
func parseStat(line string) (uint64, error) {
	const startField = 22 - 3 // counted from the state, which is field 3
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) <= startField {
		return 0, fmt.Errorf("process status has %d fields: %w", len(fields), os.ErrInvalid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, fmt.Errorf("process is dead: %w", os.ErrProcessDone)
	}
	start, err := strconv.ParseUint(fields[startField], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("process start time: %w", err)
	}
	return start, nil
}

// readRecord reads what writeRecord wrote.
func readRecord(path string) (identity, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return identity{}, fmt.Errorf("process record: %w", err)
	}
	var id identity
	if _, err := fmt.Sscan(string(raw), &id.pid, &id.start, &id.boot); err != nil {
		return identity{}, fmt.Errorf("process record %s: %w", path, err)
	}
	if id.pid <= 1 {
		return identity{}, fmt.Errorf("process record %s: pid %d: %w", path, id.pid, os.ErrInvalid)
	}
	return id, nil
}

// writeRecord replaces the record in one step, so that no reader sees half of it.
func writeRecord(path string, id identity) error {
	next := path + ".new"
	if err := os.WriteFile(next, fmt.Appendf(nil, "%d %d %s\n", id.pid, id.start, id.boot), 0o600); err != nil {
		return fmt.Errorf("process record: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("process record: %w", err)
	}
	return nil
}

// process is a running program, our child or not.
type process struct {
	id   identity
	done chan struct{} // closed once it has ended
}

// follow watches a process that is not our child through a pidfd
// (pidfd_open(2)), which becomes readable when the process ends.
func follow(id identity) (*process, error) {
	fd, err := unix.PidfdOpen(id.pid, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd of %d: %w", id.pid, err)
	}
	if !id.alive() { // it may have gone, and its pid been used again, before the pidfd
		unix.Close(fd) //nolint:errcheck // nothing was written
		return nil, unix.ESRCH
	}
	p := &process{id: id, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		defer unix.Close(fd) //nolint:errcheck // nothing was written
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return p, nil
}

// signal sends a signal if the process still is the one we know.
func (p *process) signal(s unix.Signal) {
	if p.id.alive() {
		unix.Kill(p.id.pid, s) //nolint:errcheck // the only errors left are "it has just ended"
	}
}
