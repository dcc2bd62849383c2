package workload

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// clockTicks is USER_HZ, in which /proc counts; it is 100 on every architecture
// that Go runs Linux on (time(7)).
const clockTicks = 100

// Top lists a container's processes with the columns of `ps -ef`, read from
// /proc: nothing is executed for it. Other arguments are NotImplemented.
func (m *Manager) Top(ctx context.Context, ref string, args []string) (container.TopResponse, error) {
	if len(args) > 0 && !slices.Equal(args, []string{"-ef"}) {
		return container.TopResponse{}, model.Errorf(model.NotImplemented, "only the columns of ps -ef are known, not those of ps %s", strings.Join(args, " "))
	}
	b, err := m.find(ref)
	if err != nil {
		return container.TopResponse{}, err
	}
	if b.current() == nil {
		return container.TopResponse{}, notRunning(b.id)
	}
	pids, err := m.o.Control.Pids(ctx, b.id)
	if err != nil {
		return container.TopResponse{}, err
	}
	slices.Sort(pids)
	boot, err := bootTime("/proc")
	if err != nil {
		return container.TopResponse{}, err
	}
	out := container.TopResponse{Titles: []string{"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"}}
	now := time.Now()
	for _, pid := range pids {
		if p, err := readProcess("/proc", pid, boot); err == nil { // else it has just ended
			out.Processes = append(out.Processes, p.row(now))
		}
	}
	return out, nil
}

// processInfo is what /proc says about one process (proc_pid_stat(5)).
type processInfo struct {
	pid, parent int
	owner       string
	terminal    uint64
	spent       time.Duration // on a CPU
	started     time.Time
	command     string
}

func bootTime(proc string) (time.Time, error) {
	raw, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return time.Time{}, fmt.Errorf("boot time: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "btime "); ok {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return time.Time{}, fmt.Errorf("boot time: %w", err)
			}
			return time.Unix(n, 0), nil
		}
	}
	return time.Time{}, fmt.Errorf("boot time: no btime in %s/stat", proc)
}

func readProcess(proc string, pid int, boot time.Time) (processInfo, error) {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	raw, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return processInfo{}, err
	}
	p, err := parseProcess(string(raw), boot)
	if err != nil {
		return p, err
	}
	if line, err := os.ReadFile(filepath.Join(dir, "cmdline")); err == nil && len(line) > 0 {
		p.command = strings.TrimRight(strings.ReplaceAll(string(line), "\x00", " "), " ")
	}
	if status, err := os.ReadFile(filepath.Join(dir, "status")); err == nil {
		p.owner = ownerOf(string(status))
	}
	return p, nil
}

// parseProcess reads a stat line. The second field is the program's name in
// parentheses, in which anything may stand; only what follows the last one is
// split.
func parseProcess(line string, boot time.Time) (processInfo, error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return processInfo{}, fmt.Errorf("process status: no name in it")
	}
	const first = 3 // the number, in proc_pid_stat(5), of the first field after the name
	fields := strings.Fields(line[end+1:])
	if len(fields) < 22-first+1 {
		return processInfo{}, fmt.Errorf("process status: %d fields", len(fields))
	}
	number := func(field int) uint64 {
		n, err := strconv.ParseUint(fields[field-first], 10, 64)
		if err != nil {
			return 0 // tty and parent may be negative: none
		}
		return n
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line[:open]))
	if err != nil {
		return processInfo{}, fmt.Errorf("process status: %w", err)
	}
	ticks := func(n uint64) time.Duration { return time.Duration(n) * time.Second / clockTicks }
	return processInfo{
		pid: pid, parent: int(number(4)), terminal: number(7), command: "[" + line[open+1:end] + "]",
		spent: ticks(number(14)) + ticks(number(15)), started: boot.Add(ticks(number(22))),
	}, nil
}

// ownerOf returns the name of the effective user, or its number.
func ownerOf(status string) string {
	for line := range strings.Lines(status) {
		fields := strings.Fields(line)
		if len(fields) >= 3 && fields[0] == "Uid:" {
			if u, err := user.LookupId(fields[2]); err == nil {
				return u.Username
			}
			return fields[2]
		}
	}
	return "?"
}

// row formats a process as ps -ef does.
func (p processInfo) row(now time.Time) []string {
	share := 0
	if age := now.Sub(p.started); age > 0 {
		share = int(100 * p.spent / age)
	}
	started := p.started.Format("15:04")
	if now.Sub(p.started) > 24*time.Hour {
		started = p.started.Format("Jan02")
	}
	total := int(p.spent / time.Second)
	return []string{p.owner, strconv.Itoa(p.pid), strconv.Itoa(p.parent), strconv.Itoa(share), started,
		terminalName(p.terminal), fmt.Sprintf("%02d:%02d:%02d", total/3600, total/60%60, total%60), p.command}
}

// terminalName decodes the device number of a terminal: only pseudo-terminals,
// whose majors are 136 to 143 (the kernel's devices.txt), are found in
// containers.
func terminalName(device uint64) string {
	major, minor := device>>8&0xfff, device&0xff|device>>12&0xfff00
	if major < 136 || major > 143 {
		return "?"
	}
	return "pts/" + strconv.FormatUint((major-136)<<8|minor, 10)
}
