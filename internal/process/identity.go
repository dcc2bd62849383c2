package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Identity names a process for good: pids are used again, but not within one
// boot together with the start time.
type Identity struct {
	Pid   int
	Start uint64 // clock ticks after boot, field 22 of /proc/<pid>/stat (proc_pid_stat(5))
	Boot  string // /proc/sys/kernel/random/boot_id
}

// Identify returns the identity of a live process.
func Identify(pid int) (Identity, error) {
	start, err := startTime(pid)
	if err != nil {
		return Identity{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Identity{}, fmt.Errorf("boot id: %w", err)
	}
	return Identity{Pid: pid, Start: start, Boot: strings.TrimSpace(string(boot))}, nil
}

// Alive tells whether the very process still is.
func (id Identity) Alive() bool {
	now, err := Identify(id.Pid)
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

// ReadRecord reads what WriteRecord wrote.
func ReadRecord(path string) (Identity, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Identity{}, fmt.Errorf("process record: %w", err)
	}
	var id Identity
	if _, err := fmt.Sscan(string(raw), &id.Pid, &id.Start, &id.Boot); err != nil {
		return Identity{}, fmt.Errorf("process record %s: %w", path, err)
	}
	if id.Pid <= 1 {
		return Identity{}, fmt.Errorf("process record %s: pid %d: %w", path, id.Pid, os.ErrInvalid)
	}
	return id, nil
}

// WriteRecord replaces the record in one step, so that no reader sees half of it.
func WriteRecord(path string, id Identity) error {
	next := path + ".new"
	if err := os.WriteFile(next, fmt.Appendf(nil, "%d %d %s\n", id.Pid, id.Start, id.Boot), 0o600); err != nil {
		return fmt.Errorf("process record: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("process record: %w", err)
	}
	return nil
}
