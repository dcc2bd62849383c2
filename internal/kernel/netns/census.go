package netns

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// cgroupMax bounds what is read of a process's cgroups, in bytes: with version 1
	// there are some 14 lines, with a path of at most 4096 bytes each.
	cgroupMax = 64 << 10
	// statMax bounds what is read of proc_pid_stat(5), in bytes.
	statMax = 4 << 10
	// startField is where the start time is in it, counted from what follows the
	// name of the program.
	startField = 19
	// idLen is how many hexadecimal digits of a container's ID make the name of its
	// namespace.
	idLen = 12
)

// Process is a process that may live in a namespace. A process ID is used again; with
// the time of its start it is not.
type Process struct {
	PID     int
	Started uint64 // in clock ticks since boot (proc_pid_stat(5))
}

// Census says which processes belong to the namespace of a name, the one that has
// run the longest first. It knows by their cgroups, which say whose container a
// process is and which no container writes (cgroups(7), proc_pid_cgroup(5)).
type Census map[string][]Process

// TakeCensus looks at every process of the machine that is seen in /proc, which
// takes about 20 µs for each. What ends meanwhile is not in it.
func TakeCensus() Census {
	out := Census{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return out
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		out.count(pid)
	}
	for _, all := range out {
		slices.SortFunc(all, func(a, b Process) int {
			return cmp.Or(cmp.Compare(a.Started, b.Started), cmp.Compare(a.PID, b.PID))
		})
	}
	return out
}

func (c Census) count(pid int) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	text, err := readBounded(filepath.Join(dir, "cgroup"), cgroupMax)
	if err != nil {
		return
	}
	names := containersIn(text)
	if len(names) == 0 {
		return
	}
	p, err := Identify(pid)
	if err != nil {
		return
	}
	for _, name := range names {
		c[name] = append(c[name], p)
	}
}

// Identify returns the process that has the number now.
func Identify(pid int) (Process, error) {
	started, err := startTime(unix.AT_FDCWD, filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return Process{pid, started}, err
}

// containersIn returns the names of the namespaces that the cgroups of a process
// tell of: of every element that is an ID of 64 digits.
func containersIn(cgroups []byte) []string {
	var out []string
	for line := range bytes.Lines(cgroups) {
		parts := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, element := range strings.Split(parts[2], "/") {
			if len(element) != 64 || strings.Trim(element, "0123456789abcdef") != "" {
				continue
			}
			if name := element[:idLen]; !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// startTime reads when a process began, from its stat file.
func startTime(dir int, path string) (uint64, error) {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, statMax))
	if err != nil {
		return 0, err
	}
	return parseStart(text)
}

// parseStart returns the start time in a stat file. The program's name is in
// brackets and may contain anything.
func parseStart(stat []byte) (uint64, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= startField {
		return 0, errors.New("a stat file without a start time")
	}
	return strconv.ParseUint(string(fields[startField]), 10, 64)
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// Inside opens the namespace that a process is in. The error is fs.ErrNotExist or
// unix.ESRCH if that process has ended, even if its number is another's by now.
func Inside(p Process) (*os.File, error) {
	dir, err := unix.Open(filepath.Join("/proc", strconv.Itoa(p.PID)), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: fmt.Sprintf("process %d", p.PID), Err: err}
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, "ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: fmt.Sprintf("the network namespace of process %d", p.PID), Err: err}
	}
	f := os.NewFile(uintptr(fd), fmt.Sprintf("/proc/%d/ns/net", p.PID))
	// dir is of one process for ever: what is read by it now was true then.
	if started, err := startTime(dir, "stat"); err != nil || started != p.Started {
		return nil, errors.Join(unix.ESRCH, f.Close())
	}
	return f, nil
}

// Bind gives a name to a namespace that lives: in place of a file, or on top of
// what somebody else mounted there.
func (d *Dir) Bind(ctx context.Context, name string, namespace *os.File) error {
	if err := check(name); err != nil {
		return err
	}
	if err := d.awaitRemoval(ctx, name); err != nil {
		return err
	}
	if err := d.prepare(); err != nil {
		return fmt.Errorf("prepare %s: %w", d.path, err)
	}
	path := d.Path(name)
	if !isNamespace(path) {
		if err := d.layOut(path); err != nil {
			return fmt.Errorf("name network namespace %s: %w", name, err)
		}
	}
	source := fmt.Sprintf("/proc/self/fd/%d", namespace.Fd())
	if err := unix.Mount(source, path, "none", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("name network namespace %s: %w", name, err), d.unlink(path))
	}
	return nil
}

// Same tells whether two open files are of one namespace.
func Same(a, b *os.File) bool {
	infoA, errA := a.Stat()
	infoB, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}
