package cli

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestGuidesNameCommandsThatAre: every command of docker's or ours in README and docs is in the command tree, with its flags and as many arguments as it takes.
func TestGuidesNameCommandsThatAre(t *testing.T) {
	guides, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(guides) < 7 {
		t.Fatal(guides, err)
	}
	root, _, err := Program{Version: "test"}.Commands()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, guide := range append(guides, "../../README.md") {
		text, err := os.ReadFile(guide)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range commandsIn(string(text)) {
			seen++
			if err := known(root, command); err != nil {
				t.Errorf("%s: %s: %v", filepath.Base(guide), strings.Join(command.words, " "), err)
			}
		}
	}
	if seen < 150 {
		t.Errorf("only %d commands: the test does not see them", seen)
	}
	for _, wrong := range []string{"linkspan network frobnicate", "linkspan nothing", "linkspan trace --speed 9 a b", "linkspan capture", "linkspan doctor web", "linkspan top -Z"} {
		if known(root, written{strings.Fields(wrong), true}) == nil {
			t.Errorf("%s passes", wrong)
		}
	}
}

var (
	prompt = regexp.MustCompile(`^(?:[a-z0-9]*[$#] )?(?:sudo )?`)
	span   = regexp.MustCompile("`([^`]+)`")
	// beyond is where a shell's line goes on with something that is no part of the command.
	beyond = regexp.MustCompile(`\s(?:#|[|;&>]).*|>/.*`)
	word   = regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"])+`)
)

// written is a command in a guide.
type written struct {
	words []string
	whole bool // to be typed as it stands, not only named in a sentence
}

// commandsIn are those on indented lines, and those in code spans that say more than a name.
func commandsIn(text string) (out []written) {
	prose := ""
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "    ") {
			prose += line
			continue
		}
		if words := commandOf(line); words != nil {
			out = append(out, written{words, true})
		}
	}
	for _, m := range span.FindAllStringSubmatch(prose, -1) {
		if words := commandOf(m[1]); words != nil {
			out = append(out, written{words, false})
		}
	}
	return out
}

// commandOf is the words of a line that is a command of docker's or ours, without compose, which is a plugin's.
func commandOf(line string) (words []string) {
	line = strings.Join(strings.Fields(line), " ")
	line = beyond.ReplaceAllString(line[len(prompt.FindString(line)):], "")
	for _, w := range word.FindAllString(line, -1) {
		words = append(words, strings.NewReplacer(`'`, "", `"`, "").Replace(w))
	}
	if len(words) < 2 || words[0] != "linkspan" && words[0] != "docker" || words[1] == "compose" {
		return nil
	}
	return words
}

// known says what of a command is not in the tree. One in a sentence may lack arguments, and so may one with an ellipsis.
func known(root *cobra.Command, command written) error {
	c, rest, err := root.Find(command.words[1:])
	if err != nil {
		return err
	}
	part := !command.whole || slices.ContainsFunc(command.words, func(w string) bool { return strings.Contains(w, "…") })
	missing := new(pflag.NotExistError)
	if err := c.ParseFlags(rest); err != nil && (!part || errors.As(err, &missing)) {
		return err
	}
	if args := c.Flags().Args(); !part || c.HasSubCommands() && len(args) > 0 {
		return c.ValidateArgs(args)
	}
	return nil
}
