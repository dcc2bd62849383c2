// Package redact takes out of what is to leave the host whatever a user may have put a secret
// into: environment variables, arguments, labels, options, texts of programs.
//
//	JSON document ─▶ Rules.JSON ─▶ the same with "(removed)" for texts that are not known to be harmless
//
// It goes by what is let through, never by what looks like a secret: a field that nobody has
// thought of is removed. It is pure.
package redact

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Removed stands in the place of a text that was taken out.
const Removed = "(removed)"

// Rules are the paths of texts that are let through: names of fields, with "/" between, as
// path.Match takes them. What is in a list has the path of the list. Numbers, truth values
// and names of fields are always let through.
type Rules []string

// maxDepth bounds how deep a document may be.
const maxDepth = 64

// JSON returns a document without the texts that the rules do not let through.
func (r Rules) JSON(document []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	var out bytes.Buffer
	if err := r.value(d, &out, "", 0); err != nil {
		return nil, fmt.Errorf("take secrets out of a document: %w", err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, out.Bytes(), "", "    "); err != nil {
		return nil, err
	}
	return indented.Bytes(), nil
}

// value copies one value.
func (r Rules) value(d *json.Decoder, out *bytes.Buffer, at string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("it is more than %d levels deep", maxDepth)
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch t := token.(type) {
	case json.Delim:
		return r.composite(d, out, t, at, depth)
	case string:
		if !r.allow(at) && t != "" {
			t = Removed
		}
		return write(out, t)
	default:
		return write(out, t)
	}
}

// composite copies an object or a list, whose beginning has been read.
func (r Rules) composite(d *json.Decoder, out *bytes.Buffer, kind json.Delim, at string, depth int) error {
	out.WriteRune(rune(kind))
	for i := 0; d.More(); i++ {
		if i > 0 {
			out.WriteByte(',')
		}
		below := at
		if kind == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			text, _ := name.(string) // a name is nothing else
			below = strings.TrimPrefix(at+"/"+text, "/")
			if err := write(out, text); err != nil {
				return err
			}
			out.WriteByte(':')
		}
		if err := r.value(d, out, below, depth+1); err != nil {
			return err
		}
	}
	end, err := d.Token()
	if err != nil {
		return err
	}
	out.WriteString(fmt.Sprint(end))
	return nil
}

func (r Rules) allow(at string) bool {
	for _, pattern := range r {
		if ok, err := path.Match(pattern, at); ok && err == nil {
			return true
		}
	}
	return false
}

func write(out *bytes.Buffer, value any) error {
	raw, err := json.Marshal(value)
	out.Write(raw)
	return err
}

// Texts returns every text of a document that the rules take out.
func (r Rules) Texts(document []byte) (out []string, err error) {
	d := json.NewDecoder(bytes.NewReader(document))
	var walk func(at string, depth int) error
	walk = func(at string, depth int) error {
		token, err := d.Token()
		if err != nil || depth > maxDepth {
			return err
		}
		if text, ok := token.(string); ok && !r.allow(at) {
			out = append(out, text)
		}
		kind, ok := token.(json.Delim)
		for ok && d.More() {
			below := at
			if kind == '{' {
				name, err := d.Token()
				if err != nil {
					return err
				}
				below = strings.TrimPrefix(fmt.Sprintf("%s/%v", at, name), "/")
			}
			if err := walk(below, depth+1); err != nil {
				return err
			}
		}
		if ok {
			_, err = d.Token()
		}
		return err
	}
	return out, walk("", 0)
}

// minSecret is the shortest text that is looked for in others: shorter ones are in
// everything.
const minSecret = 8

// Scrubber takes texts out of others, wherever they stand.
type Scrubber struct{ replacer *strings.Replacer }

// NewScrubber returns one that takes out these texts and, of "NAME=VALUE", the value. Short
// ones stay.
func NewScrubber(texts []string) Scrubber {
	seen := map[string]bool{}
	add := func(text string) {
		if len(text) >= minSecret {
			seen[text] = true
		}
	}
	for _, t := range texts {
		add(t)
		if _, value, ok := strings.Cut(t, "="); ok {
			add(value)
		}
	}
	// One that another begins with must not be taken out first: the rest of the other would stay.
	longest := slices.SortedFunc(maps.Keys(seen), func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	var pairs []string
	for _, text := range longest {
		pairs = append(pairs, text, Removed)
	}
	return Scrubber{strings.NewReplacer(pairs...)}
}

// Text returns a text without the others.
func (s Scrubber) Text(text string) string { return s.replacer.Replace(text) }
