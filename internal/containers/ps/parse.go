package ps

import (
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// maxColumns bounds how many columns are shown: each process has a text for each.
const maxColumns = 128

// parser collects what arguments say.
type parser struct {
	args []string
	own  []column // of -o and its like
	// Predefined formats, by the option's dialect: -f, -F, -l, -j of UNIX; u, l, j, and
	// any BSD option at all.
	full, extraFull, long, jobs bool
	bsdUser, bsdLong, bsdJobs   bool
	bsd, noTitles               bool
}

// parse reads all arguments: "-x" are UNIX options, which can stand together, "--x" GNU
// ones, and words without a dash BSD ones.
func (p *parser) parse() error {
	for len(p.args) > 0 {
		arg := p.args[0]
		p.args = p.args[1:]
		var err error
		switch {
		case arg == "" || arg == "-":
		case strings.HasPrefix(arg, "--"):
			err = p.gnu(arg)
		case arg[0] == '-':
			err = p.unix(arg[1:])
		default:
			err = p.bsdWord(arg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// value returns what follows an option: the rest of its word or the next one.
func (p *parser) value(rest, option string) (string, error) {
	if rest != "" {
		return rest, nil
	}
	if len(p.args) == 0 {
		return "", model.Errorf(model.Invalid, "ps: error: the option %s lacks its list", option)
	}
	out := p.args[0]
	p.args = p.args[1:]
	return out, nil
}

func (p *parser) unix(letters string) error {
	for i := 0; i < len(letters); i++ {
		switch letters[i] {
		case 'e', 'A', 'a', 'd', 'N', 'w', 'y', 'c', 'P', 'n': // which processes, and how wide
		case 'f':
			p.full = true
		case 'F':
			p.extraFull = true
		case 'l':
			p.long = true
		case 'j':
			p.jobs = true
		case 'o', 'O':
			list, err := p.value(letters[i+1:], "-"+letters[i:i+1])
			if err != nil {
				return err
			}
			return p.columns(list, letters[i] == 'O')
		default:
			return unknown("-" + letters[i:i+1])
		}
	}
	return nil
}

func (p *parser) bsdWord(letters string) error {
	for i := 0; i < len(letters); i++ {
		p.bsd = true
		switch letters[i] {
		case 'a', 'x', 'w', 'g', 'r', 'T', 'n', 'c', 'e':
		case 'h':
			p.noTitles = true
		case 'u':
			p.bsdUser = true
		case 'l':
			p.bsdLong = true
		case 'j':
			p.bsdJobs = true
		case 'o', 'O':
			list, err := p.value(letters[i+1:], letters[i:i+1])
			if err != nil {
				return err
			}
			return p.columns(list, letters[i] == 'O')
		default:
			return unknown(letters[i : i+1])
		}
	}
	return nil
}

func (p *parser) gnu(arg string) error {
	name, value, has := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
	switch name {
	case "format":
		if !has {
			var err error
			if value, err = p.value("", arg); err != nil {
				return err
			}
		}
		return p.columns(value, false)
	case "no-headers", "no-heading", "noheaders", "noheading", "no-header":
		p.noTitles = true
	case "headers", "width", "cols", "columns", "rows", "lines":
		if !has && (name != "headers") {
			_, err := p.value("", arg)
			return err
		}
	default:
		return unknown(arg)
	}
	return nil
}

//docker:partly GET /containers/{id}/top: without what `ps` has for its looks: -H, --forest, -L; processes are read without executing it
//docker:partly container top, top: without what `ps` has for its looks: -H, --forest, -L; processes are read without executing it
func unknown(option string) error {
	return model.Errorf(model.NotImplemented, "ps: the option %s is not supported: processes are read without executing ps; "+
		"use -ef, aux, or -o with a list of columns", option)
}

// columns reads a list of columns, "pid,user,args" or "pid=ID,args". An = gives the rest
// of the argument as the title. surrounded puts the list in ps's usual columns (-O).
func (p *parser) columns(list string, surrounded bool) error {
	var out []column
	for list != "" {
		var name, title string
		end := strings.IndexAny(list, ", =")
		renamed := end >= 0 && list[end] == '='
		switch {
		case end < 0:
			name, list = list, ""
		case renamed:
			// POSIX: the title goes to the end of the argument; procps ends it at a
			// comma that a known column follows.
			name, title = list[:end], list[end+1:]
			list = ""
			if comma := strings.LastIndexByte(title, ','); comma >= 0 {
				if first, _, _ := strings.Cut(title[comma+1:], "="); columnsByName[first].text != nil {
					title, list = title[:comma], title[comma+1:]
				}
			}
		default:
			name, list = list[:end], list[end+1:]
		}
		if name == "" {
			continue
		}
		c, known := columnsByName[strings.ToLower(name)]
		if !known {
			return model.Errorf(model.Invalid, "ps: error: unknown user-defined format specifier \"%s\"", printable(name))
		}
		if renamed {
			c.title = title
		}
		out = append(out, c)
	}
	if surrounded {
		out = append(append(pick("pid"), out...), pick("state", "tname", "time", "command")...)
	}
	if p.own = append(p.own, out...); len(p.own) > maxColumns {
		return model.Errorf(model.Invalid, "ps: error: more than %d columns", maxColumns)
	}
	return nil
}

// predefined returns the columns of the formats that options stand for.
func (p *parser) predefined() []column {
	switch {
	case p.bsdUser:
		return pick("user", "pid", "%cpu", "%mem", "vsz", "rss", "tname", "stat", "bsdstart", "bsdtime", "command")
	case p.bsdLong:
		return pick("f", "uid", "pid", "ppid", "priority", "nice", "vsz", "rss", "wchan", "stat", "tname", "bsdtime", "command")
	case p.bsdJobs:
		return pick("ppid", "pid", "pgid", "sid", "tname", "tpgid", "stat", "uid", "bsdtime", "command")
	case p.long && p.full:
		return titledUID(pick("f", "s", "user", "pid", "ppid", "c", "opri", "nice", "addr", "sz", "wchan", "stime", "tname", "time", "cmd"))
	case p.long:
		return pick("f", "s", "uid", "pid", "ppid", "c", "opri", "nice", "addr", "sz", "wchan", "tname", "time", "ucmd")
	case p.extraFull:
		return titledUID(pick("user", "pid", "ppid", "c", "sz", "rss", "psr", "stime", "tname", "time", "cmd"))
	case p.full && p.jobs:
		return titledUID(pick("user", "pid", "ppid", "pgid", "sid", "c", "stime", "tname", "time", "cmd"))
	case p.full:
		return titledUID(pick("user", "pid", "ppid", "c", "stime", "tname", "time", "cmd"))
	case p.jobs:
		return pick("pid", "pgid", "sid", "tname", "time", "ucmd")
	case p.bsd:
		return pick("pid", "tname", "stat", "bsdtime", "command")
	}
	return pick("pid", "tname", "time", "ucmd")
}

// pick returns columns by name.
func pick(names ...string) []column {
	out := make([]column, 0, len(names))
	for _, n := range names {
		out = append(out, columnsByName[n])
	}
	return out
}

// titledUID calls the column USER what some formats call it.
func titledUID(list []column) []column {
	for i := range list {
		if list[i].title == "USER" {
			list[i].title = "UID"
		}
	}
	return list
}
