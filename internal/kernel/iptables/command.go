package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
)

const (
	// lockTimeout is how long a command waits for another that changes rules, as
	// iptables takes it: in seconds.
	lockTimeout = "10"
	// commandTimeout bounds a command that hangs.
	commandTimeout = 60 * time.Second
	// maxOutput bounds what is read of a command, in bytes.
	maxOutput = 256 << 20
	maxErrors = 64 << 10
)

// Variant is one of the two programs that are called iptables: rules of the one are
// not seen by the other.
type Variant string

// The variants, as the output of iptables --version names them.
const (
	NFT    Variant = "nf_tables"
	Legacy Variant = "legacy"
)

func (v Variant) other() Variant {
	if v == NFT {
		return Legacy
	}
	return NFT
}

// infix is the part of a command's name that says which variant it is.
func (v Variant) infix() string {
	if v == NFT {
		return "-nft"
	}
	return "-legacy"
}

// ErrNoCommand is what New returns, wrapped, where there is no iptables.
var ErrNoCommand = errors.New("no iptables command found")

// tool is the commands of one family and variant.
type tool struct {
	family        int
	variant       Variant
	save, restore string // paths
	run           func(*exec.Cmd) error
}

// finder looks for commands, and has them run.
type finder struct {
	folders []string // besides PATH
	run     func(*exec.Cmd) error
}

// usualFolders are where administrators' commands are: a daemon's PATH may lack them.
func usualFolders() []string { return []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} }

// tool finds the commands of a family, of the variant that iptables is on this host if
// none is named.
func (f finder) tool(ctx context.Context, family int, variant Variant) (*tool, error) {
	if variant != "" {
		return f.variantTool(family, variant)
	}
	name := commandName(family)
	path, err := f.lookPath(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrNoCommand, name)
	}
	out, err := (&tool{run: f.run}).output(ctx, path, nil, "--version")
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w", name, err)
	}
	variant = Legacy
	if strings.Contains(string(out), "("+string(NFT)+")") {
		variant = NFT
	}
	return f.variantTool(family, variant)
}

// variantTool finds the commands of one variant. Where the host has them under the plain
// name only, that is what they are.
func (f finder) variantTool(family int, variant Variant) (*tool, error) {
	name := commandName(family)
	t := &tool{family: family, variant: variant, run: f.run}
	for _, infix := range []string{variant.infix(), ""} {
		save, err := f.lookPath(name + infix + "-save")
		if err != nil {
			continue
		}
		restore, err := f.lookPath(name + infix + "-restore")
		if err != nil {
			continue
		}
		t.save, t.restore = save, restore
		return t, nil
	}
	return nil, fmt.Errorf("%w: %s-save and %s-restore", ErrNoCommand, name, name)
}

// variantTool finds them in the usual folders.
func variantTool(family int, variant Variant, run func(*exec.Cmd) error) (*tool, error) {
	return finder{usualFolders(), run}.variantTool(family, variant)
}

func commandName(family int) string {
	if family == six {
		return "ip6tables"
	}
	return "iptables"
}

func (f finder) lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, folder := range f.folders {
		if err == nil {
			return path, nil
		}
		path = filepath.Join(folder, name)
		var info os.FileInfo
		if info, err = os.Stat(path); err == nil && (info.IsDir() || info.Mode()&0o111 == 0) {
			err = exec.ErrNotFound
		}
	}
	return path, err
}

// read returns the rules of the family, with their counters.
func (t *tool) read(ctx context.Context, args ...string) (ruleset.Ruleset, error) {
	out, err := t.output(ctx, t.save, nil, append([]string{"-c"}, args...)...)
	if err != nil {
		return ruleset.Ruleset{}, fmt.Errorf("read the rules: %w", err)
	}
	rules, err := ruleset.Parse(bytes.NewReader(out))
	if err != nil {
		return ruleset.Ruleset{}, fmt.Errorf("read the rules: %s: %w", filepath.Base(t.save), err)
	}
	return rules, nil
}

// refusal is an iptables-restore that failed.
type refusal struct {
	delta int    // whose line it was, noDelta if that is not known
	line  string // empty if it is not known
	text  string // what the command said
}

func (r *refusal) Error() string {
	if r.line == "" {
		return r.text
	}
	return fmt.Sprintf("%s: %s", r.line, r.text)
}

// write runs a script. A *refusal is an error of the rules themselves.
func (t *tool) write(ctx context.Context, s script) error {
	input, deltas := s.text()
	_, err := t.output(ctx, t.restore, []byte(input), "--noflush", "--wait", lockTimeout)
	var failed *failure
	if !errors.As(err, &failed) {
		return err
	}
	r := &refusal{delta: noDelta, text: failed.text}
	if n := lineOf(failed.text); n > 0 && n <= len(deltas) {
		r.delta, r.line = deltas[n-1], strings.Split(input, "\n")[n-1]
	}
	return r
}

// lineOf finds the number of a line in what iptables-restore says of it: "line 5 failed",
// "Error occurred at line: 5", "line 5: RULE_DELETE failed".
func lineOf(text string) int {
	m := regexp.MustCompile(`line:? (\d{1,9})`).FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// failure is a command that ended with an error.
type failure struct {
	name, text string
	err        error
}

func (f *failure) Error() string {
	if f.text == "" {
		return fmt.Sprintf("%s: %v", f.name, f.err)
	}
	return fmt.Sprintf("%s: %s", f.name, f.text)
}

func (f *failure) Unwrap() error { return f.err }

// output runs a command to its end.
func (t *tool) output(ctx context.Context, path string, input []byte, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin = bytes.NewReader(input)
	out, said := limited{max: maxOutput}, limited{max: maxErrors}
	cmd.Stdout, cmd.Stderr = &out, &said
	err := t.run(cmd)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), ctx.Err())
	case err != nil:
		return nil, &failure{filepath.Base(path), plain(said.String()), err}
	case out.over:
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), ruleset.ErrTooLarge)
	}
	return out.Bytes(), nil
}

// plain is what a command said, in one line, without what it says to everybody.
func plain(s string) string {
	var lines []string
	for _, l := range strings.Split(s, "\n") {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "Try `") && !strings.HasPrefix(l, "#") {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "; ")
}

// limited is a buffer that forgets what is beyond its bound.
type limited struct {
	bytes.Buffer
	max  int
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	if room := l.max - l.Len(); len(p) > room {
		l.over = true
		l.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return l.Buffer.Write(p)
}
