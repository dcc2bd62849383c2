package ruleset

import (
	"fmt"
	"strings"
)

// String writes the rule as iptables-save does, without its chain. Two rules mean the
// same if they read the same; ParseRule reads it back.
func (r Rule) String() string {
	var b strings.Builder
	put := func(not bool, words ...string) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if not {
			b.WriteString("! ")
		}
		b.WriteString(strings.Join(words, " "))
	}
	if r.Source.Prefix.IsValid() {
		put(r.Source.Not, "-s", r.Source.Prefix.String())
	}
	if r.Destination.Prefix.IsValid() {
		put(r.Destination.Not, "-d", r.Destination.Prefix.String())
	}
	if r.In.Text != "" {
		put(r.In.Not, "-i", quote(r.In.Text))
	}
	if r.Out.Text != "" {
		put(r.Out.Not, "-o", quote(r.Out.Text))
	}
	if r.Protocol.Text != "" {
		put(r.Protocol.Not, "-p", quote(r.Protocol.Text))
	}
	for _, m := range r.Matches {
		if m.Module == "fragment" {
			put(m.Options[0].Not, "-f")
			continue
		}
		put(false, m.text())
	}
	if r.Target != "" {
		flag := "-j"
		if r.Goto {
			flag = "-g"
		}
		put(false, flag, quote(r.Target))
		for _, o := range r.TargetOptions {
			put(false, o.text())
		}
	}
	return b.String()
}

func (m Match) text() string {
	words := []string{"-m", quote(m.Module)}
	for _, o := range m.Options {
		words = append(words, o.text())
	}
	return strings.Join(words, " ")
}

func (o Option) text() string {
	var words []string
	if o.Not {
		words = append(words, "!")
	}
	words = append(words, "--"+o.Name)
	for _, v := range o.Values {
		words = append(words, quote(v))
	}
	return strings.Join(words, " ")
}

// quote puts a word into quotes where it would be read as more than one, or as
// something else.
func quote(s string) string {
	if s != "" && s != "!" && !strings.HasPrefix(s, "-") && !strings.HasPrefix(s, "[") && !strings.ContainsAny(s, " \t\"'\\") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// word is one word of a line.
type word struct {
	text   string
	quoted bool
}

// split takes a line apart as iptables-restore does: words in quotes may have spaces,
// and a backslash there takes the next byte as it is.
func split(line string) (words []word, err error) {
	for i := 0; i < len(line); {
		if line[i] == ' ' || line[i] == '\t' {
			i++
			continue
		}
		var w word
		if w, i, err = nextWord(line, i); err != nil {
			return nil, err
		}
		if words = append(words, w); len(words) > maxWords {
			return nil, fmt.Errorf("more than %d words: %w", maxWords, ErrTooLarge)
		}
	}
	return words, nil
}

// nextWord reads the word that begins at i, and returns where it ends.
func nextWord(line string, i int) (word, int, error) {
	var b strings.Builder
	var w word
	open := byte(0)
	for ; i < len(line); i++ {
		c := line[i]
		switch {
		case open != 0 && c == '\\' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		case open != 0 && c == open:
			open = 0
		case open == 0 && (c == '"' || c == '\''):
			open, w.quoted = c, true
		case open == 0 && (c == ' ' || c == '\t'):
			w.text = b.String()
			return w, i, nil
		case c == '\n' || c == 0:
			return word{}, 0, fmt.Errorf("a control character in %.40q", line)
		default:
			b.WriteByte(c)
		}
	}
	if open != 0 {
		return word{}, 0, fmt.Errorf("a quote that does not end in %.40q", line)
	}
	w.text = b.String()
	return w, i, nil
}
