package ps

import (
	"fmt"
	"strconv"
	"time"
)

// page is the size in which ps counts SZ, in bytes.
const page = 4096

// columnsByName are all columns by the names that ps(1) has for them.
var columnsByName = allColumns()

// table collects columns by name.
type table map[string]column

func (t table) put(title string, text func(Process, Host) string, names ...string) {
	for _, n := range names {
		t[n] = column{title, text}
	}
}

// plain is the text of a column that the process alone decides.
func plain(of func(Process) string) func(Process, Host) string {
	return func(p Process, _ Host) string { return of(p) }
}

func number(of func(Process) int) func(Process, Host) string {
	return plain(func(p Process) string { return strconv.Itoa(of(p)) })
}

func size(of func(Process) uint64, unit uint64) func(Process, Host) string {
	return plain(func(p Process) string { return strconv.FormatUint(of(p)/unit, 10) })
}

func allColumns() table {
	t := table{}
	t.put("PID", number(func(p Process) int { return p.PID }), "pid", "tgid")
	t.put("PPID", number(func(p Process) int { return p.Parent }), "ppid")
	t.put("PGID", number(func(p Process) int { return p.Group }), "pgid")
	t.put("PGRP", number(func(p Process) int { return p.Group }), "pgrp")
	t.put("SID", number(func(p Process) int { return p.Session }), "sid")
	t.put("SESS", number(func(p Process) int { return p.Session }), "sess", "session")
	t.put("TPGID", number(func(p Process) int { return p.Foreground }), "tpgid")
	t.put("NI", number(func(p Process) int { return p.Nice }), "nice", "ni")
	t.put("PRI", number(func(p Process) int { return 39 - p.Priority }), "pri")
	t.put("PRI", number(func(p Process) int { return p.Priority }), "priority")
	t.put("PRI", number(func(p Process) int { return 60 + p.Priority }), "opri")
	t.put("PSR", number(func(p Process) int { return p.CPU }), "psr")
	t.put("NLWP", number(func(p Process) int { return p.Threads }), "nlwp")
	t.put("THCNT", number(func(p Process) int { return p.Threads }), "thcount")
	t.put("UID", plain(func(p Process) string { return p.EUID }), "uid")
	t.put("EUID", plain(func(p Process) string { return p.EUID }), "euid")
	t.put("RUID", plain(func(p Process) string { return p.UID }), "ruid")
	t.put("GID", plain(func(p Process) string { return p.EGID }), "gid")
	t.put("EGID", plain(func(p Process) string { return p.EGID }), "egid")
	t.put("RGID", plain(func(p Process) string { return p.GID }), "rgid")
	t.put("USER", plain(func(p Process) string { return p.EffectiveUser }), "user", "uname")
	t.put("EUSER", plain(func(p Process) string { return p.EffectiveUser }), "euser")
	t.put("RUSER", plain(func(p Process) string { return p.User }), "ruser")
	t.put("GROUP", plain(func(p Process) string { return p.EffectiveGroup }), "group")
	t.put("EGROUP", plain(func(p Process) string { return p.EffectiveGroup }), "egroup")
	t.put("RGROUP", plain(func(p Process) string { return p.GroupName }), "rgroup")
	t.put("VSZ", size(func(p Process) uint64 { return p.Virtual }, 1024), "vsz", "vsize")
	t.put("RSS", size(func(p Process) uint64 { return p.Resident }, 1024), "rss", "rssize")
	t.put("RSZ", size(func(p Process) uint64 { return p.Resident }, 1024), "rsz")
	t.put("SZ", size(func(p Process) uint64 { return p.Virtual }, page), "sz")
	t.put("MAJFL", size(func(p Process) uint64 { return p.MajorFaults }, 1), "maj_flt", "majflt")
	t.put("MINFL", size(func(p Process) uint64 { return p.MinorFaults }, 1), "min_flt", "minflt")
	t.put("ADDR", plain(func(Process) string { return "-" }), "addr")
	t.put("WCHAN", plain(func(Process) string { return "-" }), "wchan")
	t.put("F", plain(Process.flags), "f", "flag", "flags")
	t.put("S", plain(func(p Process) string { return string(rune(p.State)) }), "s", "state")
	t.put("STAT", plain(Process.stat), "stat")
	t.put("TTY", plain(Process.tty), "tname")
	t.put("TT", plain(Process.tty), "tty", "tt")
	t.put("CMD", plain(Process.commandLine), "cmd")
	t.put("COMMAND", plain(Process.commandLine), "args", "command")
	t.put("COMMAND", plain(Process.program), "comm", "ucomm")
	t.put("CMD", plain(Process.program), "ucmd")
	t.put("C", func(p Process, h Host) string { return strconv.Itoa(int(p.share(h) / 10)) }, "c")
	t.put("%CPU", func(p Process, h Host) string { return fmt.Sprintf("%.1f", float64(p.share(h))/10) }, "%cpu", "pcpu")
	t.put("%MEM", Process.memoryShare, "%mem", "pmem")
	t.put("TIME", plain(Process.cpuTime), "time", "cputime")
	t.put("TIME", plain(Process.shortCPUTime), "bsdtime")
	t.put("ELAPSED", Process.elapsed, "etime")
	t.put("ELAPSED", func(p Process, h Host) string { return strconv.Itoa(int(p.age(h) / time.Second)) }, "etimes")
	t.put("STIME", Process.startTime, "stime")
	t.put("START", Process.startTime, "start_time")
	t.put("START", Process.bsdStart, "bsdstart")
	t.put("STARTED", Process.started, "start")
	t.put("STARTED", plain(func(p Process) string { return p.Started.Format(time.ANSIC) }), "lstart")
	return t
}

// flags are octal: 1 for a process that has not executed a program since its fork, 4
// for one that has used the rights of root (PF_FORKNOEXEC, PF_SUPERPRIV).
func (p Process) flags() string { return strconv.FormatUint(p.Flags>>6&7, 8) }

// stat is the state with what ps adds to it.
func (p Process) stat() string {
	out := string(rune(p.State))
	switch {
	case p.Nice < 0:
		out += "<"
	case p.Nice > 0:
		out += "N"
	}
	if p.Session == p.PID {
		out += "s"
	}
	if p.Threads > 1 {
		out += "l"
	}
	if p.Foreground > 0 && p.Foreground == p.Group {
		out += "+"
	}
	return out
}

// tty decodes the device number of a terminal: only pseudo-terminals, whose majors are
// 136 to 143 (the kernel's devices.txt), are found in containers.
func (p Process) tty() string {
	major, minor := p.Terminal>>8&0xfff, p.Terminal&0xff|p.Terminal>>12&0xfff00
	if major < 136 || major > 143 {
		return "?"
	}
	return "pts/" + strconv.FormatUint((major-136)<<8|minor, 10)
}

func (p Process) commandLine() string {
	if p.Command == "" {
		return "[" + p.Name + "]" + p.defunct()
	}
	return p.Command
}

func (p Process) program() string { return p.Name + p.defunct() }

func (p Process) defunct() string {
	if p.State == 'Z' {
		return " <defunct>"
	}
	return ""
}

func (p Process) age(h Host) time.Duration { return max(h.Now.Sub(p.Started), 0) }

// share is the part of its life that a process has spent on a CPU, in thousandths.
func (p Process) share(h Host) int64 {
	age := p.age(h)
	if age < time.Second {
		return 0
	}
	return int64(1000 * float64(p.Spent) / float64(age))
}

func (p Process) memoryShare(h Host) string {
	if h.Memory == 0 {
		return "0.0"
	}
	return fmt.Sprintf("%.1f", float64(p.Resident)*100/float64(h.Memory))
}

func (p Process) cpuTime() string {
	s := int(p.Spent / time.Second)
	days := ""
	if s >= 86400 {
		days = strconv.Itoa(s/86400) + "-"
	}
	return fmt.Sprintf("%s%02d:%02d:%02d", days, s/3600%24, s/60%60, s%60)
}

func (p Process) shortCPUTime() string {
	s := int(p.Spent / time.Second)
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

func (p Process) elapsed(h Host) string {
	s := int(p.age(h) / time.Second)
	switch {
	case s >= 86400:
		return fmt.Sprintf("%d-%02d:%02d:%02d", s/86400, s/3600%24, s/60%60, s%60)
	case s >= 3600:
		return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

func (p Process) startTime(h Host) string {
	switch {
	case p.Started.Year() != h.Now.Year():
		return p.Started.Format("2006")
	case p.Started.YearDay() != h.Now.YearDay():
		return p.Started.Format("Jan02")
	}
	return p.Started.Format("15:04")
}

func (p Process) bsdStart(h Host) string {
	if p.age(h) > 24*time.Hour {
		return p.Started.Format("Jan02")
	}
	return p.Started.Format("15:04")
}

func (p Process) started(h Host) string {
	if p.age(h) > 24*time.Hour {
		return p.Started.Format("Jan 02")
	}
	return p.Started.Format("15:04:05")
}
