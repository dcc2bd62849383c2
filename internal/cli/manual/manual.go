// Package manual writes manual pages (man(7)) from the flags and commands that the programs have.
//
// It is pure: equal commands give equal pages, byte for byte.
package manual

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Header is what every page begins with.
type Header struct {
	Version string
	Date    time.Time // of the source: shown at the foot
}

// Page is one manual page.
type Page struct {
	Name    string // linkspan-network-plan
	Section int
	Text    string // in the language of man(7)
}

// Command returns the pages of a command and of those below it that keep says yes to. Hidden ones have none.
func Command(h Header, root *cobra.Command, keep func(*cobra.Command) bool) []Page {
	var out []Page
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" {
			return
		}
		if c == root || keep(c) {
			out = append(out, commandPage(h, c))
		}
		for _, below := range c.Commands() {
			visit(below)
		}
	}
	visit(root)
	return out
}

func commandPage(h Header, c *cobra.Command) Page {
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	p := page{}
	p.begin(h, name, 1, c.Short)
	p.section("SYNOPSIS")
	p.line(".B %s", escape(c.UseLine()))
	if c.Long != "" && c.Long != c.Short {
		p.section("DESCRIPTION")
		p.text(c.Long)
	}
	p.flags("OPTIONS", c.NonInheritedFlags())
	if below := slices.DeleteFunc(slices.Clone(c.Commands()), func(c *cobra.Command) bool { return c.Hidden || c.Name() == "help" }); len(below) > 0 {
		p.section("COMMANDS")
		for _, b := range below {
			p.line(".TP")
			p.line(".B %s", escape(b.Name()))
			p.text(b.Short)
		}
	}
	if c.Example != "" {
		p.section("EXAMPLES")
		p.line(".nf")
		p.text(c.Example)
		p.line(".fi")
	}
	return Page{name, 1, p.String()}
}

// Program is one that takes flags only.
type Program struct {
	Name, Short string
	About       []string // a paragraph an item
	Flags       *pflag.FlagSet
	Files       [][2]string // what it reads and writes, each with what that is
}

// Daemon returns the page of a program that runs in the background.
func Daemon(h Header, d Program) Page {
	p := page{}
	p.begin(h, d.Name, 8, d.Short)
	p.section("SYNOPSIS")
	p.line(".B %s", escape(d.Name))
	p.line("[\\fIOPTION\\fR]...")
	p.section("DESCRIPTION")
	for i, paragraph := range d.About {
		if i > 0 {
			p.line(".PP")
		}
		p.text(paragraph)
	}
	p.flags("OPTIONS", d.Flags)
	p.section("FILES")
	for _, f := range d.Files {
		p.line(".TP")
		p.line(".I %s", escape(f[0]))
		p.text(f[1])
	}
	return Page{d.Name, 8, p.String()}
}

// page is one under way.
type page struct{ strings.Builder }

func (p *page) begin(h Header, name string, section int, short string) {
	p.line(`.TH "%s" "%d" "%s" "Linkspan %s" "Linkspan"`, escape(strings.ToUpper(name)), section, h.Date.UTC().Format(time.DateOnly), escape(h.Version))
	p.section("NAME")
	p.line("%s \\- %s", escape(name), escape(strings.TrimSpace(short)))
}

func (p *page) section(name string) { p.line(".SH %s", name) }

// line adds one that is written in the language already.
func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// text adds what people wrote.
func (p *page) text(text string) {
	for line := range strings.Lines(text) {
		p.line("%s", escape(strings.TrimRight(line, "\n")))
	}
}

func (p *page) flags(title string, flags *pflag.FlagSet) {
	begun := false
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		if !begun {
			p.section(title)
			begun = true
		}
		kind, usage := pflag.UnquoteUsage(f)
		p.line(".TP")
		spelled := "\\fB\\-\\-" + escape(f.Name) + "\\fR"
		if f.Shorthand != "" {
			spelled = "\\fB\\-" + escape(f.Shorthand) + "\\fR, " + spelled
		}
		if kind != "" {
			spelled += " \\fI" + escape(kind) + "\\fR"
		}
		p.line("%s", spelled)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" {
			usage += " (default " + f.DefValue + ")"
		}
		p.text(usage)
	})
}

// escape returns text that stands for itself: a page's language gives a meaning to backslashes, to hyphens, and to points
// and quotes at the beginning of a line. Control characters are left out.
func escape(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, text)
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `"`, `\(dq`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		return `\&` + text
	}
	return text
}
