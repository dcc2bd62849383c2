package xtables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// lockTimeout is how long iptables-restore waits for another that changes rules, in
// seconds.
const lockTimeout = "10"

// maxComplaint bounds what is told of why a command failed, in bytes.
const maxComplaint = 64 << 10

// ErrTooLong is what Save returns, wrapped, for output beyond the bound.
var ErrTooLong = errors.New("too much output")

// Tool is the commands that print and change the rules of one family, of one variant.
type Tool struct {
	Family  model.Family
	Variant Variant

	commands      *Commands
	save, restore string // paths
}

// Save returns what iptables-save(8) prints. The kernel makes the tables of
// iptables-legacy that it is asked for.
func (t *Tool) Save(ctx context.Context, args ...string) (string, error) {
	return t.commands.run(ctx, "", t.save, args...)
}

// Restore has iptables-restore(8) do what a script says, or nothing of it, and leave all
// else as it is. What it refuses is a *Failure.
func (t *Tool) Restore(ctx context.Context, script string) error {
	_, err := t.commands.run(ctx, script, t.restore, "--noflush", "--wait", lockTimeout)
	return err
}

// Failure is a command that ended with an error.
type Failure struct {
	Command string // its name
	Text    string // what it complained of, in one line
	Err     error
}

// Error implements error.
func (f *Failure) Error() string {
	if f.Text == "" {
		return fmt.Sprintf("%s: %v", f.Command, f.Err)
	}
	return fmt.Sprintf("%s: %s", f.Command, f.Text)
}

// Unwrap implements the interface that package errors knows.
func (f *Failure) Unwrap() error { return f.Err }

// run runs a command to its end and returns what it prints.
func (c *Commands) run(ctx context.Context, input, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	out, complaint := &bounded{left: c.o.MaxOutput}, &bounded{left: maxComplaint}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), out, complaint
	cmd.Env = append(os.Environ(), "PATH="+strings.Join(c.o.Folders, string(os.PathListSeparator)), "LC_ALL=C")
	cmd.WaitDelay = time.Second
	err := c.o.Enter(func() error {
		if err := cmd.Start(); err != nil {
			return err
		}
		c.o.Started(cmd.Process.Pid)
		return cmd.Wait()
	})
	name := filepath.Base(path)
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: %w", name, ctx.Err())
	case err != nil:
		return "", &Failure{Command: name, Text: plain(complaint.kept.String()), Err: err}
	case out.cut:
		return "", fmt.Errorf("%s: more than %d bytes: %w", name, c.o.MaxOutput, ErrTooLong)
	}
	return out.kept.String(), nil
}

// plain is what a command complained of, in one line, without what it tells everybody.
func plain(s string) string {
	var lines []string
	for l := range strings.Lines(s) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "Try `") && !strings.HasPrefix(l, "#") {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "; ")
}

// bounded keeps so much of what is written to it and takes the rest without a word.
type bounded struct {
	kept bytes.Buffer // not embedded: it would be read into without a bound
	left int
	cut  bool
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	keep := min(len(p), b.left)
	b.left -= keep
	b.cut = b.cut || keep < len(p)
	b.kept.Write(p[:keep])
	return len(p), nil
}
