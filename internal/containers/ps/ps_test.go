package ps

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// TestTitles: the columns of the formats, as procps has them.
func TestTitles(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-ef", "UID PID PPID C STIME TTY TIME CMD"},
		{"-e", "PID TTY TIME CMD"},
		{"-A", "PID TTY TIME CMD"},
		{"-eF", "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD"},
		{"-el", "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD"},
		{"-elf", "F S UID PID PPID C PRI NI ADDR SZ WCHAN STIME TTY TIME CMD"},
		{"-ej", "PID PGID SID TTY TIME CMD"},
		{"ax", "PID TTY STAT TIME COMMAND"},
		{"x", "PID TTY STAT TIME COMMAND"},
		{"aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"},
		{"auxww", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"},
		{"axl", "F UID PID PPID PRI NI VSZ RSS WCHAN STAT TTY TIME COMMAND"},
		{"axj", "PPID PID PGID SID TTY TPGID STAT UID TIME COMMAND"},
		{"-o pid", "PID"},
		{"-o pid,comm", "PID COMMAND"},
		{"-opid,user,args", "PID USER COMMAND"},
		{"-eo pid,etime,cmd", "PID ELAPSED CMD"},
		{"axo pid,rss,vsz,pcpu,pmem", "PID RSS VSZ %CPU %MEM"},
		{"-o pid -o cmd", "PID CMD"},
		{"-e --format pid,stat", "PID STAT"},
		{"--format=pid,stat", "PID STAT"},
		{"-o pid,cmd=Command", "PID Command"},
		{"-o user=WHO,pid", "WHO PID"},
		{"-O ppid", "PID PPID S TTY TIME COMMAND"},
	} {
		f, err := Parse(strings.Fields(c.args))
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		if got := strings.Join(f.Titles(), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.args, got, c.want)
		}
	}
}

// TestTitlesAreThoseOfPS compares with the very program, where there is one.
func TestTitlesAreThoseOfPS(t *testing.T) {
	program, err := exec.LookPath("ps")
	if err != nil {
		t.Skip("ps is not installed")
	}
	for _, args := range []string{"-ef", "-e", "-eF", "-el", "-elf", "-ej", "ax", "aux", "axl", "axj", "-o pid,ppid,pgid,pgrp,sid,sess,tpgid", "-eO ppid",
		"-o pid,uid,euid,ruid,gid,egid,rgid,user,euser,ruser,group,egroup,rgroup,uname", "-o pid,nice,ni,pri,opri,priority,psr,nlwp,thcount",
		"-o pid,vsz,vsize,rss,rsz,rssize,sz,maj_flt,min_flt,%cpu,pcpu,%mem,pmem,c", "-o pid,f,flag,flags,s,state,stat,wchan,addr",
		"-o pid,tty,tt,tname,time,cputime,bsdtime,etime,etimes,stime,start_time,bsdstart,start,lstart", "-o pid,cmd,args,command,comm,ucmd,ucomm"} {
		f, err := Parse(strings.Fields(args))
		if err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		out, err := exec.Command(program, strings.Fields(args)...).Output()
		if err != nil {
			t.Errorf("ps %s: %v", args, err)
			continue
		}
		line, _, _ := strings.Cut(string(out), "\n")
		if want := strings.Fields(line); !slices.Equal(f.Titles(), want) {
			t.Errorf("%s: %v\nps has %v", args, f.Titles(), want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		args, text string
		kind       model.Kind
	}{
		{"-o comm", "Couldn't find PID field in ps output", model.Internal},
		{"-o pid=ID,comm", "Couldn't find PID field in ps output", model.Internal},
		{"-o pid=", "Couldn't find PID field in ps output", model.Internal},
		{"-ef --no-headers", "Couldn't find PID field in ps output", model.Internal},
		{"axh", "Couldn't find PID field in ps output", model.Internal},
		{"-o nonsense,pid", "ps: error: unknown user-defined format specifier \"nonsense\"", model.Invalid},
		{"-o ppid=PID", `specifying "ppid=PID" is not allowed`, model.Internal},
		{"-o", "lacks its list", model.Invalid},
		{"-eLf", "the option -L is not supported", model.NotImplemented},
		{"--sort=pid", "the option --sort=pid is not supported", model.NotImplemented},
		{"-o " + strings.Repeat("pid,", 200), "more than 128 columns", model.Invalid},
	} {
		_, err := Parse(strings.Fields(c.args))
		if err == nil || model.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%.40s: %v (kind %d), want %q", c.args, err, model.KindOf(err), c.text)
		}
	}
}

func TestRow(t *testing.T) {
	now := time.Date(2024, 5, 6, 12, 0, 0, 0, time.Local)
	p := Process{State: 'S', PID: 42, Parent: 7, Group: 42, Session: 42, Foreground: 42, Terminal: 0x8801, Flags: 0x400140, Priority: 20, Threads: 3,
		Virtual: 8 << 20, Resident: 2 << 20, Spent: 90 * time.Second, Started: now.Add(-time.Hour), UID: "0", EUID: "1000", User: "root", EffectiveUser: "web",
		Name: "a\tb\x1b", Command: "run --x\x1b[2J \u202e\xff ö"}
	h := Host{Now: now, Memory: 8 << 20}
	for args, want := range map[string][]string{
		"-ef": {"web", "42", "7", "2", "11:00", "pts/1", "00:01:30", "run --x?[2J ?? ö"},
		"aux": {"web", "42", "2.5", "25.0", "8192", "2048", "pts/1", "Ssl+", "11:00", "1:30", "run --x?[2J ?? ö"},
		"-o pid,comm,etime,etimes,f,s,pri,opri,sz,ruser": {"42", "a?b?", "01:00:00", "3600", "5", "S", "19", "80", "2048", "root"},
	} {
		f, err := Parse(strings.Fields(args))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Row(p, h); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
	f, _ := Parse([]string{"-o", "pid,args,comm"})
	if got := f.Row(Process{PID: 1, State: 'Z', Name: "x"}, h); fmt.Sprint(got) != "[1 [x] <defunct> x <defunct>]" {
		t.Errorf("zombie %q", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"-ef", "aux", "-o pid=PID,cmd", "--format", "-O", "axo pid"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		format, err := Parse(strings.Fields(line))
		if err == nil && (len(format.Row(Process{State: 'R'}, Host{})) != len(format.Titles()) || !slices.Contains(format.Titles(), "PID")) {
			t.Fatalf("%q", line)
		}
	})
}
