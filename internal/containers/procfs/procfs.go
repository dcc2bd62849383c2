// Package procfs reads processes from /proc (proc(5)), with bounds: processes decide how
// much there is to read.
package procfs

import (
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/containers/ps"
)

const (
	// clockTicks is USER_HZ, in which /proc counts; it is 100 on every architecture
	// that Go runs Linux on (time(7)).
	clockTicks = 100
	// procLimit bounds what is read of a file in /proc, in bytes: processes choose how
	// long their arguments are, and share them with their children for nothing.
	procLimit = 4096
	// commandsLimit bounds the arguments of all processes of an answer together. What
	// is beyond shows the names of programs.
	commandsLimit = 4 << 20
)

// Table reads processes from /proc for one answer.
type Table struct {
	root     string
	boot     time.Time
	commands int               // bytes of arguments that may still be read
	names    map[string]string // of users and groups that were looked up
}

// Open returns a table of this machine's processes.
func Open() *Table {
	return &Table{root: "/proc", commands: commandsLimit, names: map[string]string{}}
}

// Host reads what processes' figures are relative to.
func (t *Table) Host() (ps.Host, error) {
	stat, err := t.fileOf(filepath.Join(t.root, "stat"), 1<<20)
	if err != nil {
		return ps.Host{}, fmt.Errorf("boot time: %w", err)
	}
	text, ok := field(stat, "btime")
	n, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		return ps.Host{}, fmt.Errorf("boot time: no btime in %s/stat", t.root)
	}
	t.boot = time.Unix(n, 0)
	host := ps.Host{Now: time.Now()}
	if memory, err := t.fileOf(filepath.Join(t.root, "meminfo"), procLimit); err == nil {
		text, _ := field(memory, "MemTotal:")
		kilobytes, _ := strconv.ParseUint(text, 10, 64) //nolint:errcheck // 0 is "not known"
		host.Memory = kilobytes << 10
	}
	return host, nil
}

// fileOf reads a file up to a bound.
func (t *Table) fileOf(path string, limit int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // was only read
	raw, err := io.ReadAll(io.LimitReader(f, limit))
	return string(raw), err
}

// field returns the first word after a name at the beginning of a line.
func field(text, name string) (string, bool) {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			return words[1], true
		}
	}
	return "", false
}

// Process reads one process. Call it after Host.
func (t *Table) Process(pid int) (ps.Process, error) {
	dir := filepath.Join(t.root, strconv.Itoa(pid))
	stat, err := t.fileOf(filepath.Join(dir, "stat"), procLimit)
	if err != nil {
		return ps.Process{}, err
	}
	p, err := parseProcess(stat, t.boot)
	if err != nil {
		return p, err
	}
	if limit := min(procLimit, t.commands); limit > 0 {
		if line, err := t.fileOf(filepath.Join(dir, "cmdline"), int64(limit)); err == nil {
			t.commands -= len(line)
			p.Command = strings.TrimRight(strings.ReplaceAll(line, "\x00", " "), " ")
		}
	}
	// What is looked for comes before the groups, of which there may be 65536.
	if status, err := t.fileOf(filepath.Join(dir, "status"), procLimit); err == nil {
		t.owners(&p, status)
	}
	return p, nil
}

// parseProcess reads a stat line. The second field is the program's name in
// parentheses, in which anything may stand; only what follows the last one is
// split.
func parseProcess(line string, boot time.Time) (ps.Process, error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return ps.Process{}, fmt.Errorf("process status: no name in it")
	}
	const first = 3 // the number, in proc_pid_stat(5), of the first field after the name
	fields := strings.Fields(line[end+1:])
	if len(fields) < 24-first+1 {
		return ps.Process{}, fmt.Errorf("process status: %d fields", len(fields))
	}
	number := func(field int) uint64 {
		if field-first >= len(fields) {
			return 0
		}
		n, err := strconv.ParseUint(fields[field-first], 10, 64)
		if err != nil {
			return 0 // tty and parent may be negative: none
		}
		return n
	}
	signed := func(field int) int {
		n, err := strconv.Atoi(fields[field-first])
		if err != nil {
			return 0
		}
		return n
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line[:open]))
	if err != nil {
		return ps.Process{}, fmt.Errorf("process status: %w", err)
	}
	ticks := func(n uint64) time.Duration { return time.Duration(n) * time.Second / clockTicks }
	return ps.Process{
		PID: pid, Name: line[open+1 : end], State: fields[0][0],
		Parent: int(number(4)), Group: signed(5), Session: signed(6), Terminal: number(7), Foreground: signed(8),
		Flags: number(9), MinorFaults: number(10), MajorFaults: number(12),
		Spent: ticks(number(14)) + ticks(number(15)), Priority: signed(18), Nice: signed(19), Threads: signed(20),
		Started: boot.Add(ticks(number(22))), Virtual: number(23), Resident: number(24) * uint64(os.Getpagesize()), CPU: int(number(39)),
	}, nil
}

// owners reads real and effective users and groups from a status file.
func (t *Table) owners(p *ps.Process, status string) {
	for line := range strings.Lines(status) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		switch fields[0] {
		case "Uid:":
			p.UID, p.EUID = fields[1], fields[2]
		case "Gid:":
			p.GID, p.EGID = fields[1], fields[2]
		}
	}
	userName := func(id string) (string, error) {
		u, err := user.LookupId(id)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	}
	groupName := func(id string) (string, error) {
		g, err := user.LookupGroupId(id)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	}
	p.User, p.EffectiveUser = t.name("u", p.UID, userName), t.name("u", p.EUID, userName)
	p.GroupName, p.EffectiveGroup = t.name("g", p.GID, groupName), t.name("g", p.EGID, groupName)
}

// name looks the name of a user or group of the host up, once; its number stands for
// one without a name.
func (t *Table) name(kind, id string, lookup func(string) (string, error)) string {
	if id == "" {
		return "?"
	}
	if name, known := t.names[kind+id]; known {
		return name
	}
	name, err := lookup(id)
	if err != nil {
		name = id
	}
	t.names[kind+id] = name
	return name
}
