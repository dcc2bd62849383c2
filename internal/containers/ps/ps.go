// Package ps understands the arguments of ps(1) as far as they say what is shown, and
// formats processes as procps does, so that nothing is executed for `docker top`.
//
// It promises that every byte of a process's own making comes out printable, and that
// an argument it does not know is refused, not ignored. It must not read anything:
// processes are given to it.
package ps

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/linkspan/linkspan/internal/model"
)

// Process is what /proc says about one process (proc_pid_stat(5)).
type Process struct {
	State                        byte
	PID, Parent, Group, Session  int
	Foreground                   int    // process group of the terminal
	Terminal                     uint64 // device number, 0 for none
	Flags                        uint64
	MinorFaults, MajorFaults     uint64
	Priority, Nice, Threads, CPU int
	Virtual, Resident            uint64 // bytes
	Spent                        time.Duration
	Started                      time.Time
	UID, EUID, GID, EGID         string // numbers
	User, EffectiveUser          string // names, or numbers
	GroupName, EffectiveGroup    string
	Name                         string // of the program, at most 15 bytes
	Command                      string // with arguments; empty if it has none
}

// Host is what figures are relative to.
type Host struct {
	Now    time.Time
	Memory uint64 // bytes
}

// Format is a choice of columns.
type Format struct{ columns []column }

// column is one column of the output, with its title.
type column struct {
	title string
	text  func(Process, Host) string
}

// pidTitle is the title by which clients find the process.
const pidTitle = "PID"

// Parse reads the arguments of ps, as `docker top` sends them. Which processes are
// chosen is not for them to say, so that options that choose are taken and do nothing.
// Errors: Invalid for what ps would not understand, NotImplemented for what it would,
// Internal with Docker's text without a column PID.
func Parse(args []string) (Format, error) {
	p := parser{args: args}
	for i, arg := range args { // Docker's check, for its reason: PID must be the pid
		for _, part := range strings.Split(arg, ",") {
			name, title, renamed := strings.Cut(part, "=")
			if name = strings.TrimPrefix(name, "-o"); i > 0 && renamed && strings.HasPrefix(strings.TrimSpace(title), pidTitle) && name != "pid" {
				return Format{}, model.Errorf(model.Internal, "specifying \"%s=%s\" is not allowed", name, title)
			}
		}
	}
	if err := p.parse(); err != nil {
		return Format{}, err
	}
	f := Format{columns: p.own}
	if len(f.columns) == 0 {
		f.columns = p.predefined()
	}
	shown := false
	for _, c := range f.columns {
		shown = shown || c.title == pidTitle
	}
	if !shown || p.noTitles {
		return Format{}, model.Errorf(model.Internal, "Couldn't find PID field in ps output")
	}
	return f, nil
}

// Titles returns the titles of the columns.
func (f Format) Titles() []string {
	out := make([]string, 0, len(f.columns))
	for _, c := range f.columns {
		out = append(out, c.title)
	}
	return out
}

// Row returns a process's line, a text for each column.
func (f Format) Row(p Process, h Host) []string {
	p.Name, p.Command = printable(p.Name), printable(p.Command)
	out := make([]string, 0, len(f.columns))
	for _, c := range f.columns {
		out = append(out, c.text(p, h))
	}
	return out
}

// printable puts ? in the place of what a terminal might obey.
func printable(text string) string {
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "?")
	}
	return strings.Map(func(r rune) rune {
		if r == ' ' || unicode.IsGraphic(r) && !unicode.IsSpace(r) {
			return r
		}
		return '?'
	}, text)
}
