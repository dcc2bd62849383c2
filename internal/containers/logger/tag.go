package logger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
)

var errTooLong = fmt.Errorf("log tag is too long: at most %d bytes", maxAttributes)

// expand returns what a tag's template makes of a container.
func expand(text string, i *Info) (string, error) {
	t, err := template.New("log-tag").Funcs(functions()).Parse(text)
	if err != nil {
		return "", err
	}
	steps := 0
	t.Funcs(template.FuncMap{stepName: func() (string, error) {
		if steps++; steps > maxSteps {
			return "", errTooMuch
		}
		return "", nil
	}})
	for _, one := range t.Templates() {
		countSteps(one.Tree)
	}
	var out bounded
	if err := t.Execute(&out, i); err != nil {
		return "", err
	}
	return out.text.String(), nil
}

// bounded ends a template that would write for ever.
type bounded struct{ text bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.text.Len()+len(p) > maxAttributes {
		return 0, errTooLong
	}
	return b.text.Write(p)
}

// maxSteps is how often a tag's template may go through a list of actions: one that
// goes through a container's environment needs some hundred. To come back from
// within many lists costs the square of their number.
const maxSteps = 2000

var errTooMuch = fmt.Errorf("log tag takes too long: more than %d steps", maxSteps)

// stepName is the function that counts them. It is not known while a template is
// read, so that nobody can write it there.
const stepName = "step"

// countSteps puts a step in front of every list of a template, so that whatever
// goes round in it comes past one.
func countSteps(tree *parse.Tree) {
	if tree != nil {
		countIn(tree, tree.Root)
	}
}

func countIn(tree *parse.Tree, list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.IfNode:
			countIn(tree, n.List)
			countIn(tree, n.ElseList)
		case *parse.WithNode:
			countIn(tree, n.List)
			countIn(tree, n.ElseList)
		case *parse.RangeNode:
			countIn(tree, n.List)
			countIn(tree, n.ElseList)
		}
	}
	list.Nodes = slices.Insert(list.Nodes, 0, step(tree, list.Pos))
}

func step(tree *parse.Tree, at parse.Pos) parse.Node {
	call := &parse.CommandNode{NodeType: parse.NodeCommand, Pos: at,
		Args: []parse.Node{parse.NewIdentifier(stepName).SetPos(at).SetTree(tree)}}
	return &parse.ActionNode{NodeType: parse.NodeAction, Pos: at,
		Pipe: &parse.PipeNode{NodeType: parse.NodePipe, Pos: at, Cmds: []*parse.CommandNode{call}}}
}

// functions are those of Docker's templates, and the built-in ones that make text:
// none makes more than fits into a log.
func functions() template.FuncMap {
	return template.FuncMap{
		//lint:ignore SA1019 Docker's templates have this one
		"title": short1(strings.Title), //nolint:staticcheck // the same for golangci-lint
		"lower": short1(strings.ToLower), "upper": short1(strings.ToUpper),
		"json": asJSON, "split": strings.Split, "pad": pad, "truncate": truncate,
		"join": func(list []string, between string) (string, error) { return fits(strings.Join(list, between)) },
		"html": shortAny(template.HTMLEscaper), "js": shortAny(template.JSEscaper), "urlquery": shortAny(template.URLQueryEscaper),
		"print": shortAny(fmt.Sprint), "println": shortAny(fmt.Sprintln), "printf": printf,
	}
}

func fits(text string) (string, error) {
	if len(text) > maxAttributes {
		return "", errTooLong
	}
	return text, nil
}

func short1(f func(string) string) func(string) (string, error) {
	return func(text string) (string, error) {
		if _, err := fits(text); err != nil {
			return "", err
		}
		return fits(f(text))
	}
}

func shortAny(f func(...any) string) func(...any) (string, error) {
	return func(args ...any) (string, error) { return fits(f(args...)) }
}

// widths are what makes a verb of a format wide: "%5s", "%-*.3f".
var widths = regexp.MustCompile(`%[-+# 0]*(?:\[\d+\])?(\d+|\*)?(?:\.(?:\[\d+\])?(\d+|\*))?`)

// maxWidth bounds how much a single verb may fill up, in characters.
const maxWidth = 1024

func printf(format string, args ...any) (string, error) {
	if _, err := fits(format); err != nil {
		return "", err
	}
	for _, verb := range widths.FindAllStringSubmatch(format, -1) {
		for _, width := range verb[1:] {
			if n, err := strconv.Atoi(width); width == "*" || width != "" && (err != nil || n > maxWidth) {
				return "", errTooLong
			}
		}
	}
	return fits(fmt.Sprintf(format, args...))
}

// The functions of Docker's templates.

func asJSON(v any) (string, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	if err != nil {
		return "", err
	}
	return fits(strings.TrimSpace(out.String()))
}

func pad(text string, before, after int) (string, error) {
	if max(before, after) > maxAttributes {
		return "", errTooLong
	}
	if text == "" {
		return "", nil
	}
	return fits(strings.Repeat(" ", before) + text + strings.Repeat(" ", after))
}

func truncate(text string, length int) string {
	if len(text) < length {
		return text
	}
	return text[:length]
}
