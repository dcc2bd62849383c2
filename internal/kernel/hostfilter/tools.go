package hostfilter

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// commandTime bounds one command; iptables-restore itself waits 5 seconds for its
	// lock.
	commandTime = 10 * time.Second
	// maxOutput bounds what is read of a command, in bytes.
	maxOutput = 16 << 20
	// maxComplaint bounds what is told of why a command failed.
	maxComplaint = 1 << 10
)

// kind is which of its two kernels' interfaces an iptables speaks.
type kind int

const (
	absent     kind = iota
	ofNFTables      // iptables-nft, by nf_tables
	ofXTables       // iptables-legacy, by x_tables
)

// tools finds and runs the commands of iptables.
type tools struct {
	path  []string
	enter func(func() error) error

	mu    sync.Mutex
	known map[program]kind
}

// program is a file as it was when it was asked what it is.
type program struct {
	path     string
	modified time.Time
}

func newTools(o Options) *tools {
	t := &tools{path: o.Path, enter: o.Enter, known: map[program]kind{}}
	if t.path == nil {
		t.path = append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/sbin", "/usr/sbin", "/sbin")
	}
	if t.enter == nil {
		t.enter = func(f func() error) error { return f() }
	}
	return t
}

// lookPath returns where a program is; empty if it is nowhere.
func (t *tools) lookPath(name string) string {
	for _, dir := range t.path {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && filepath.IsAbs(path) && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// find returns where the host's iptables is and of which kind. The name of the file
// says it, behind all links; else it is asked, once.
func (t *tools) find(ctx context.Context, name string) (path string, k kind) {
	path = t.lookPath(name)
	real, err := filepath.EvalSymlinks(path)
	if path == "" || err != nil {
		return "", absent
	}
	switch base := filepath.Base(real); {
	case strings.Contains(base, "nft"):
		return path, ofNFTables
	case strings.Contains(base, "legacy"):
		return path, ofXTables
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", absent
	}
	return path, t.ask(ctx, program{real, info.ModTime()})
}

func (t *tools) ask(ctx context.Context, p program) kind {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k, ok := t.known[p]; ok {
		return k
	}
	out, err := t.run(ctx, "", p.path, "--version")
	k := ofXTables // before 1.8.0, there was no other, and it did not say so
	switch {
	case err != nil || !strings.HasPrefix(out, "ip"):
		k = absent
	case strings.Contains(out, "nf_tables"):
		k = ofNFTables
	}
	if err == nil {
		t.known[p] = k
	}
	return k
}

// loaded tells whether x_tables has a filter table in this namespace: one exists as
// soon as somebody has asked for it.
func (t *tools) loaded(name string) bool {
	file := map[string]string{"iptables": "ip_tables_names", "ip6tables": "ip6_tables_names"}[name]
	var names []byte
	err := t.enter(func() (err error) {
		names, err = os.ReadFile("/proc/thread-self/net/" + file)
		return err
	})
	return err == nil && bytes.Contains(append([]byte("\n"), names...), []byte("\n"+filterTable+"\n"))
}

// run runs a command and returns what it prints. Its error has what the command
// complained of.
func (t *tools) run(ctx context.Context, input, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	out, complaint := &bounded{left: maxOutput}, &bounded{left: maxComplaint}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), out, complaint
	cmd.Env = []string{"PATH=" + strings.Join(t.path, string(os.PathListSeparator)), "LC_ALL=C"}
	cmd.WaitDelay = time.Second
	err := t.enter(cmd.Run)
	if err == nil && out.cut {
		err = fmt.Errorf("more than %d bytes of output", maxOutput)
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", path, strings.Join(args, " "), err, strings.TrimSpace(complaint.kept.String()))
	}
	return out.kept.String(), nil
}

// bounded keeps so much of what is written to it and takes the rest without a word.
type bounded struct {
	kept bytes.Buffer // not embedded: it would be read into without a bound
	left int
	cut  bool
}

var _ io.Writer = (*bounded)(nil)

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	keep := min(len(p), b.left)
	b.left -= keep
	b.cut = b.cut || keep < len(p)
	b.kept.Write(p[:keep])
	return len(p), nil
}
